// A client of golang.org/x/crypto/acme, the package that autocert and many Go programs enrol with, and that cert-manager's own
// client began as. It keeps account.pem, key.pem and cert.pem in the folder that it runs in, and reads eab.key and ca-bundle.pem.
//
//	x_crypto_acme order [-profile P] [-challenge TYPE] NAME    (DIRECTORY and KID come from the environment)
//	x_crypto_acme change-key | revoke | deactivate
//	x_crypto_acme manifest FILE    enrols as cert-manager does that is given FILE, which `ca grant create` printed
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"time"

	"golang.org/x/crypto/acme"
	"sigs.k8s.io/yaml"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: x_crypto_acme order|change-key|revoke|deactivate|manifest …")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 80*time.Second)
	defer cancel()
	commands := map[string]func(context.Context, []string) error{
		"order": order, "change-key": changeKey, "revoke": revoke, "deactivate": deactivate, "manifest": manifest,
	}
	command, known := commands[os.Args[1]]
	if !known {
		log.Fatalf("no such command: %s", os.Args[1])
	}
	if err := command(ctx, os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func order(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("order", flag.ExitOnError)
	profile := flags.String("profile", "", "the profile that the order names")
	challenge := flags.String("challenge", "", "the type of challenge, where one is asked for")
	flags.Parse(arguments)
	client, err := account()
	if err != nil {
		return err
	}
	var options []acme.OrderOption
	if *profile != "" {
		options = append(options, acme.WithOrderIssuanceProfile(acme.ProfileName(*profile)))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return enrol(ctx, client, flags.Args(), key, x509.ECDSAWithSHA256, *challenge, options...)
}

// account gives a client with the account of this folder, which it makes, with the binding, where there is none.
func account() (*acme.Client, error) {
	if stored, err := os.ReadFile("account.pem"); err == nil {
		key, err := parseKey(stored)
		if err != nil {
			return nil, err
		}
		return newClient(os.Getenv("DIRECTORY"), "ca-bundle.pem", key)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	client, err := newClient(os.Getenv("DIRECTORY"), "ca-bundle.pem", key)
	if err != nil {
		return nil, err
	}
	secret, err := eab("eab.key")
	if err != nil {
		return nil, err
	}
	binding := acme.ExternalAccountBinding{KID: os.Getenv("KID"), Key: secret}
	if _, err := client.Register(context.Background(), &acme.Account{ExternalAccountBinding: &binding}, acme.AcceptTOS); err != nil {
		return nil, err
	}
	return client, writeKey("account.pem", key)
}

func newClient(directory, bundle string, key crypto.Signer) (*acme.Client, error) {
	roots, err := os.ReadFile(bundle)
	if err != nil {
		return nil, err
	}
	return clientOf(directory, roots, key)
}

func clientOf(directory string, roots []byte, key crypto.Signer) (*acme.Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, errors.New("the bundle has no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	return &acme.Client{Key: key, DirectoryURL: directory, HTTPClient: &http.Client{Transport: transport}}, nil
}

// eab reads the grant's secret as cert-manager reads its Secret: base64url without padding, into as many octets as the file,
// with its line's end, would have.
func eab(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, base64.RawURLEncoding.DecodedLen(len(text)))
	_, err = base64.RawURLEncoding.Decode(secret, text)
	return secret, err
}

// enrol goes the way of cert-manager's Order: each authorization is read, challenges are met where they are asked for, and
// the order is finalized by its URL alone, so that an answer that is not final needs a Location.
func enrol(ctx context.Context, client *acme.Client, names []string, key crypto.Signer, algorithm x509.SignatureAlgorithm,
	challenge string, options ...acme.OrderOption) error {
	var ids []acme.AuthzID
	for _, name := range names {
		if net.ParseIP(name) != nil {
			ids = append(ids, acme.IPIDs(name)...)
		} else {
			ids = append(ids, acme.DomainIDs(name)...)
		}
	}
	order, err := client.AuthorizeOrder(ctx, ids, options...)
	if err != nil {
		return err
	}
	for _, url := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if authorization.Status == acme.StatusPending {
			if err := prove(ctx, client, authorization, challenge); err != nil {
				return err
			}
		} else if authorization.Status != acme.StatusValid {
			return fmt.Errorf("an authorization is %s", authorization.Status)
		}
	}
	if order.Status != acme.StatusReady {
		if _, err := client.WaitOrder(ctx, order.URI); err != nil {
			return err
		}
	}
	csr, err := request(names, key, algorithm)
	if err != nil {
		return err
	}
	chain, url, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		return err
	}
	// What cert-manager asks for afterwards.
	if after, err := client.GetOrder(ctx, order.URI); err != nil || after.Status != acme.StatusValid || after.CertURL != url {
		return fmt.Errorf("the order afterwards: %v, %v", after, err)
	}
	// Where it lost track, it finalizes once more, and lives with a 403 where the order is valid.
	var refused *acme.Error
	if _, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true); !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden {
		return fmt.Errorf("finalized once more: %v", err)
	}
	if again, err := client.FetchCert(ctx, url, true); err != nil || len(again) != len(chain) {
		return fmt.Errorf("fetched once more: %d of %d certificates, %v", len(again), len(chain), err)
	}
	if alternates, err := client.ListCertAlternates(ctx, url); err != nil {
		return fmt.Errorf("alternate chains %v: %w", alternates, err)
	}
	var certificates []byte
	for _, certificate := range chain {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
	}
	if err := writeKey("key.pem", key); err != nil {
		return err
	}
	return os.WriteFile("cert.pem", certificates, 0o644)
}

// prove meets one challenge of the type.
func prove(ctx context.Context, client *acme.Client, authorization *acme.Authorization, kind string) error {
	which := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
	if which < 0 {
		return fmt.Errorf("%s is not covered by the grant, and no challenge of type %q is offered", authorization.Identifier.Value, kind)
	}
	challenge := authorization.Challenges[which]
	name := authorization.Identifier.Value
	switch kind {
	case "http-01":
		answer, err := client.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		mux.HandleFunc(client.HTTP01ChallengePath(challenge.Token), func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
		listener, err := net.Listen("tcp", "127.0.0.1:80")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: mux}
		go server.Serve(listener)
		defer server.Close()
	case "tls-alpn-01":
		certificate, err := client.TLSALPN01ChallengeCert(challenge.Token, name)
		if err != nil {
			return err
		}
		configuration := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{acme.ALPNProto}}
		listener, err := tls.Listen("tcp", "127.0.0.1:443", configuration)
		if err != nil {
			return err
		}
		server := &http.Server{TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
		go server.Serve(listener)
		defer server.Close()
	case "dns-01":
		record, err := client.DNS01ChallengeRecord(challenge.Token)
		if err != nil {
			return err
		}
		if err := exec.Command("/interop/txt.sh", "set", "_acme-challenge."+name, record).Run(); err != nil {
			return err
		}
		defer exec.Command("/interop/txt.sh", "clear", "_acme-challenge."+name).Run()
	}
	if _, err := client.Accept(ctx, challenge); err != nil {
		return err
	}
	_, err := client.WaitAuthorization(ctx, authorization.URI)
	return err
}

// request gives a CSR as cert-manager makes it: no subject, a critical subjectAltName, and the usual keyUsage, critical too.
func request(names []string, key crypto.Signer, algorithm x509.SignatureAlgorithm) ([]byte, error) {
	var general []asn1.RawValue
	for _, name := range names {
		if address := net.ParseIP(name); address == nil {
			general = append(general, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)})
		} else if four := address.To4(); four != nil {
			general = append(general, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: four})
		} else {
			general = append(general, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 7, Bytes: address})
		}
	}
	subjectAltName, err := asn1.Marshal(general)
	if err != nil {
		return nil, err
	}
	// digitalSignature and keyEncipherment.
	keyUsage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0xa0}, BitLength: 3})
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		SignatureAlgorithm: algorithm,
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: subjectAltName},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: keyUsage},
		},
	}, key)
}

func changeKey(ctx context.Context, _ []string) error {
	client, err := account()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return err
	}
	if err := client.AccountKeyRollover(ctx, key); err != nil {
		return err
	}
	return writeKey("account.pem", key)
}

func revoke(ctx context.Context, _ []string) error {
	client, err := account()
	if err != nil {
		return err
	}
	text, err := os.ReadFile("cert.pem")
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("cert.pem has no certificate")
	}
	return client.RevokeCert(ctx, nil, block.Bytes, acme.CRLReasonSuperseded)
}

func deactivate(ctx context.Context, _ []string) error {
	client, err := account()
	if err != nil {
		return err
	}
	return client.DeactivateReg(ctx)
}

// The fields of cert-manager.io/v1 that are printed; an unknown one is an error.
type secretKey struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}
type object struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
}
type issuer struct {
	object
	Spec struct {
		ACME struct {
			Server                 string    `json:"server"`
			CABundle               []byte    `json:"caBundle"`
			PrivateKeySecretRef    secretKey `json:"privateKeySecretRef"`
			ExternalAccountBinding struct {
				KeyID        string    `json:"keyID"`
				KeySecretRef secretKey `json:"keySecretRef"`
			} `json:"externalAccountBinding"`
			Solvers []map[string]any `json:"solvers"`
		} `json:"acme"`
	} `json:"spec"`
}
type certificate struct {
	object
	Spec struct {
		SecretName string `json:"secretName"`
		IssuerRef  struct {
			Name string `json:"name"`
		} `json:"issuerRef"`
		DNSNames    []string `json:"dnsNames"`
		IPAddresses []string `json:"ipAddresses"`
		PrivateKey  struct {
			Algorithm string `json:"algorithm"`
			Size      int    `json:"size"`
		} `json:"privateKey"`
	} `json:"spec"`
}

// printed is what `ca grant create` prints: a Secret that kubectl makes of a file, and two objects that it applies.
var printed = regexp.MustCompile(`(?s)^kubectl create secret generic (\S+) --from-file=(\S+)=(\S+)\n` +
	`kubectl apply -f - <<'END'\n(.*)\n---\n(.*\n)END\n*$`)

func manifest(ctx context.Context, arguments []string) error {
	text, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	parts := printed.FindSubmatch(text)
	if parts == nil {
		return fmt.Errorf("not what is printed for cert-manager: %s", text)
	}
	var from issuer
	var wanted certificate
	if err := yaml.UnmarshalStrict(parts[4], &from); err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(parts[5], &wanted); err != nil {
		return err
	}
	known := from.Spec.ACME
	if from.Metadata["name"] != wanted.Spec.IssuerRef.Name {
		return errors.New("the Certificate is not the Issuer's")
	}
	if ref := known.ExternalAccountBinding.KeySecretRef; ref.Name != string(parts[1]) || ref.Key != string(parts[2]) {
		return errors.New("the Issuer's secret is not the one that was made")
	}
	secret, err := eab(string(parts[3]))
	if err != nil {
		return err
	}
	// cert-manager's account keys are RSA.
	accountKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	client, err := clientOf(known.Server, known.CABundle, accountKey)
	if err != nil {
		return err
	}
	binding := acme.ExternalAccountBinding{KID: known.ExternalAccountBinding.KeyID, Key: secret}
	if _, err := client.Register(ctx, &acme.Account{ExternalAccountBinding: &binding}, acme.AcceptTOS); err != nil {
		return err
	}
	// After a restart it registers again, with the same key and binding, and asks for the account that there is.
	if client, err = clientOf(known.Server, known.CABundle, accountKey); err != nil {
		return err
	}
	_, err = client.Register(ctx, &acme.Account{ExternalAccountBinding: &binding}, acme.AcceptTOS)
	if err != acme.ErrAccountAlreadyExists {
		return fmt.Errorf("a second registration: %v", err)
	}
	if known, err := client.GetReg(ctx, ""); err != nil || known.URI == "" {
		return fmt.Errorf("the account: %v, %v", known, err)
	}
	key, algorithm, err := certificateKey(wanted.Spec.PrivateKey.Algorithm, wanted.Spec.PrivateKey.Size)
	if err != nil {
		return err
	}
	names := append(slices.Sorted(slices.Values(wanted.Spec.DNSNames)), slices.Sorted(slices.Values(wanted.Spec.IPAddresses))...)
	return enrol(ctx, client, names, key, algorithm, "")
}

// certificateKey makes a key as a Certificate asks for it, and says how cert-manager signs the CSR with it.
func certificateKey(algorithm string, size int) (crypto.Signer, x509.SignatureAlgorithm, error) {
	switch algorithm {
	case "", "RSA":
		if size == 0 {
			size = 2048
		}
		if size < 2048 || size > 8192 {
			return nil, 0, fmt.Errorf("cert-manager makes no RSA key of %d bits", size)
		}
		signature := x509.SHA256WithRSA
		if size >= 4096 {
			signature = x509.SHA512WithRSA
		} else if size >= 3072 {
			signature = x509.SHA384WithRSA
		}
		key, err := rsa.GenerateKey(rand.Reader, size)
		return key, signature, err
	case "ECDSA":
		switch size {
		case 0, 256:
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			return key, x509.ECDSAWithSHA256, err
		case 384:
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			return key, x509.ECDSAWithSHA384, err
		}
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, x509.PureEd25519, err
	}
	return nil, 0, fmt.Errorf("cert-manager makes no key of algorithm %q and size %d", algorithm, size)
}

func writeKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, usable := key.(crypto.Signer)
	if !usable {
		return nil, errors.New("not a key that signs")
	}
	return signer, nil
}
