// java VerifyChains.java <second of the epoch> {<root> <intermediate> <leaf>}...
//
// Validates each chain under PKIX, revocation left aside, and prints a line for each: "accepted", the reason of the
// refusal, or "unreadable".

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.Date;
import java.util.List;
import java.util.Set;

class VerifyChains {
    public static void main(String[] args) throws GeneralSecurityException, IOException {
        Date now = new Date(1000 * Long.parseLong(args[0]));
        for (int i = 1; i < args.length; i += 3) {
            System.out.println(verdict(now, args[i], args[i + 1], args[i + 2]));
        }
    }

    static String verdict(Date now, String root, String intermediate, String leaf) throws GeneralSecurityException, IOException {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        try {
            PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(read(factory, root), null)));
            parameters.setRevocationEnabled(false);
            parameters.setDate(now);
            List<X509Certificate> path = List.of(read(factory, leaf), read(factory, intermediate));
            CertPathValidator.getInstance("PKIX").validate(factory.generateCertPath(path), parameters);
            return "accepted";
        } catch (CertPathValidatorException e) {
            return e.getReason() + ": " + e.getMessage();
        } catch (RuntimeException e) {
            return "broken: " + e;
        } catch (CertificateException e) {
            return "unreadable: " + e.getMessage();
        }
    }

    static X509Certificate read(CertificateFactory factory, String path) throws CertificateException, IOException {
        try (var in = Files.newInputStream(Path.of(path))) {
            return (X509Certificate) factory.generateCertificate(in);
        }
    }
}
