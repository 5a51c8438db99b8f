-- attestations: a client's answer that is judged, and the key that was attested.

-- The client's JWS, verbatim, where the challenge is answered by one.
ALTER TABLE validations ADD COLUMN answer TEXT;

-- SHA-256 of the SubjectPublicKeyInfo, in hexadecimal: the only key that the authorization is good for.
ALTER TABLE challenges ADD COLUMN attested_key TEXT;
