// What the program in docs/clients.md leaves out: challenges, profiles, revocation, a change of key. It works in the current
// folder. usage: acme_client.mjs order NAME [profile=P] [challenge=T] | revoke | change-key | deactivate
import acme from 'acme-client';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { isIP } from 'node:net';
import tls from 'node:tls';

const { DIRECTORY, KID } = process.env;
const [command, name, ...more] = process.argv.slice(2);
const options = Object.fromEntries(more.map((option) => option.split('=')));

if (!existsSync('account.pem')) writeFileSync('account.pem', await acme.crypto.createPrivateEcdsaKey(), { mode: 0o600 });
const client = new acme.Client({
  directoryUrl: DIRECTORY,
  accountKey: readFileSync('account.pem'),
  externalAccountBinding: { kid: KID, hmacKey: readFileSync('eab.key', 'utf8').trim() },
});
await client.createAccount({ termsOfServiceAgreed: true });

const listening = (server, port) => new Promise((done, wrong) => server.once('error', wrong).listen(port, '127.0.0.1', () => done(server)));

// Shows the proof; gives what ends that.
async function show(authorization, challenge) {
  const proof = await client.getChallengeKeyAuthorization(challenge);
  const host = authorization.identifier.value;
  if (challenge.type === 'dns-01') {
    execFileSync('/interop/txt.sh', ['set', `_acme-challenge.${host}`, proof]);
    return () => execFileSync('/interop/txt.sh', ['clear', `_acme-challenge.${host}`]);
  }
  if (challenge.type === 'http-01') {
    const server = await listening(http.createServer((_, answer) => answer.end(proof)), 80);
    return () => server.close();
  }
  const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, proof);
  const server = await listening(tls.createServer({ key, cert, ALPNProtocols: ['acme-tls/1'] }), 443);
  return () => server.close();
}

async function order() {
  const identifier = isIP(name) ? { type: 'ip', value: name } : { type: 'dns', value: name };
  const wanted = { identifiers: [identifier] };
  if (options.profile) wanted.profile = options.profile;
  const order = await client.createOrder(wanted);
  for (const authorization of await client.getAuthorizations(order)) {
    if (authorization.status === 'valid') continue;
    const challenge = authorization.challenges.find(({ type }) => type === options.challenge);
    const end = await show(authorization, challenge);
    await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge).finally(end);
  }
  const [key, csr] = await acme.crypto.createCsr({ altNames: [name] }, await acme.crypto.createPrivateEcdsaKey());
  const finalized = await client.finalizeOrder(order, csr);
  writeFileSync('key.pem', key, { mode: 0o600 });
  writeFileSync('cert.pem', await client.getCertificate(finalized));
}

switch (command) {
  case 'order':
    await order();
    break;
  case 'revoke':
    await client.revokeCertificate(readFileSync('cert.pem', 'utf8'), { reason: 4 });
    break;
  case 'change-key': {
    const next = await acme.crypto.createPrivateEcdsaKey();
    await client.updateAccountKey(next);
    writeFileSync('account.pem', next, { mode: 0o600 });
    break;
  }
  case 'deactivate':
    await client.updateAccount({ status: 'deactivated' });
    break;
  default:
    process.exit(2);
}
