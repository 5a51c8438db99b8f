// java -Dcom.sun.security.enableCRLDP=true -Djdk.net.hosts.file=HOSTS Judge.java FILE
//
// Validates each chain of FILE under PKIX, with CRLs that the validator fetches from the certificates' own distribution points:
// this program serves them on port 80 of 127.0.0.1, where HOSTS leads the names of those URLs. A line of FILE: name, kind, file, issuers, CRLs, with
// tabs between and commas within. Prints a line for each: name, tab, "accepted", "revoked" or "refused", tab, the words.

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

class Judge {
    static final Pattern CRL_URL = Pattern.compile("http://status\\.example\\.com(/a/[a-z0-9-]+/crl/[0-9]+\\.crl)");
    /** The CRL behind each path, for the chain that is being judged. */
    static final Map<String, byte[]> served = new HashMap<>();
    static CertificateFactory factory;

    public static void main(String[] args) throws Exception {
        factory = CertificateFactory.getInstance("X.509");
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 80), 0);
        server.createContext("/", exchange -> {
            byte[] crl = served.get(exchange.getRequestURI().getPath());
            exchange.sendResponseHeaders(crl == null ? 404 : 200, crl == null ? -1 : crl.length);
            if (crl != null) {
                exchange.getResponseBody().write(crl);
            }
            exchange.close();
        });
        server.start();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] fields = line.split("\t");
            String verdict = "accepted\t";
            try {
                if (fields[1].equals("crl")) {
                    readCrl(fields[2]).verify(read(fields[3].split(",")[0]).getPublicKey());
                } else {
                    validate(fields[2], fields[3].split(","), fields[4].split(","));
                }
            } catch (CertPathValidatorException e) {
                boolean revoked = e.getReason() == CertPathValidatorException.BasicReason.REVOKED && e.getIndex() == 0;
                verdict = (revoked ? "revoked\t" : "refused\t") + e.getReason() + ": " + e.getMessage();
            } catch (Exception e) {
                verdict = "refused\t" + e;
            }
            System.out.println(fields[0] + "\t" + verdict.replace('\n', ' '));
        }
        server.stop(0);
    }

    static void validate(String leaf, String[] issuers, String[] crls) throws Exception {
        List<X509Certificate> path = new ArrayList<>(List.of(read(leaf)));
        for (int i = 0; i < issuers.length - 1; i++) {
            path.add(read(issuers[i]));
        }
        served.clear();
        for (int i = 0; i < path.size(); i++) {
            String url = crlPath(path.get(i));
            if (url != null) {
                served.put(url, Files.readAllBytes(Path.of(crls[i])));
            }
        }
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        X509Certificate root = read(issuers[issuers.length - 1]);
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
        // A root, and a responder's certificate with ocsp-nocheck, have no distribution point: nobody asks about them.
        boolean asks = path.stream().allMatch(certificate -> crlPath(certificate) != null);
        parameters.setRevocationEnabled(asks);
        if (asks) {
            PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
            checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.PREFER_CRLS, PKIXRevocationChecker.Option.NO_FALLBACK));
            parameters.addCertPathChecker(checker);
        }
        validator.validate(factory.generateCertPath(path), parameters);
    }

    /** The path of the URL in the certificate's CRL distribution points; null without one. */
    static String crlPath(X509Certificate certificate) {
        byte[] extension = certificate.getExtensionValue("2.5.29.31");
        if (extension == null) {
            return null;
        }
        Matcher matcher = CRL_URL.matcher(new String(extension, StandardCharsets.ISO_8859_1));
        return matcher.find() ? URI.create(matcher.group()).getPath() : null;
    }

    static X509Certificate read(String file) throws Exception {
        return (X509Certificate) factory.generateCertificate(new ByteArrayInputStream(Files.readAllBytes(Path.of(file))));
    }

    static X509CRL readCrl(String file) throws Exception {
        return (X509CRL) factory.generateCRL(new ByteArrayInputStream(Files.readAllBytes(Path.of(file))));
    }
}
