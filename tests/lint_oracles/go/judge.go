// judge MANIFEST: lets Go's crypto/x509 and x/crypto/ocsp judge every specimen of the manifest.
//
// Prints a line for each: name, tab, "accepted", "revoked" or "refused" (of an OCSP answer its status), tab, the words.
package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

type specimen struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	File    string   `json:"file"`
	Issuers []string `json:"issuers"`
	CRLs    []string `json:"crls"`
	Purpose string   `json:"purpose"`
	Serial  string   `json:"serial"`
}

var folder string

func main() {
	manifest := os.Args[1]
	folder = filepath.Dir(manifest)
	var specimens []specimen
	text, err := os.ReadFile(manifest)
	if err == nil {
		err = json.Unmarshal(text, &specimens)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, s := range specimens {
		verdict, err := judge(s)
		words := ""
		if err != nil {
			verdict, words = "refused", strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Printf("%s\t%s\t%s\n", s.Name, verdict, words)
	}
}

func judge(s specimen) (string, error) {
	der, err := os.ReadFile(filepath.Join(folder, s.File))
	if err != nil {
		return "", err
	}
	issuers, err := certificates(s.Issuers)
	if err != nil {
		return "", err
	}
	switch s.Kind {
	case "certificate":
		return judgeCertificate(der, s, issuers)
	case "crl":
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return "", err
		}
		return "accepted", crl.CheckSignatureFrom(issuers[0])
	case "ocsp-response":
		return judgeResponse(der, s, issuers[0])
	}
	return "", errors.New("unknown kind " + s.Kind)
}

func judgeCertificate(der []byte, s specimen, issuers []*x509.Certificate) (string, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return "", err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(issuers[len(issuers)-1])
	for _, c := range issuers[:len(issuers)-1] {
		between.AddCert(c)
	}
	client, server := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	usages := map[string][]x509.ExtKeyUsage{"client": {client}, "server": {server}, "client-and-server": {client, server}}
	wanted, known := usages[s.Purpose]
	if !known {
		wanted = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	var chains [][]*x509.Certificate
	for _, usage := range wanted {
		options := x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}
		if chains, err = leaf.Verify(options); err != nil {
			return "", err
		}
	}
	// Go leaves revocation to its callers: each certificate of the chain is looked up in its issuer's CRL.
	for i, c := range chains[0] {
		if i == len(s.CRLs) {
			break
		}
		listed, err := isListed(c, s.CRLs[i], issuers[i])
		if err != nil {
			return "", err
		}
		if listed && i == 0 {
			return "revoked", nil
		}
		if listed {
			return "", errors.New("an authority of the chain is revoked")
		}
	}
	return "accepted", nil
}

func isListed(c *x509.Certificate, file string, issuer *x509.Certificate) (bool, error) {
	der, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		return false, err
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return false, err
	}
	if !bytes.Equal(crl.RawIssuer, c.RawIssuer) {
		return false, errors.New("the CRL is another issuer's")
	}
	// A cross-certified authority's CRL is its own, under either certificate.
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return false, err
	}
	if now := time.Now(); now.Before(crl.ThisUpdate) || now.After(crl.NextUpdate) {
		return false, errors.New("the CRL is not current")
	}
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return true, nil
		}
	}
	return false, nil
}

func judgeResponse(der []byte, s specimen, issuer *x509.Certificate) (string, error) {
	// About the certificate with this serial number: only that matters to the parser.
	serial, known := new(big.Int).SetString(s.Serial, 16)
	if !known {
		return "", errors.New("no serial number: " + s.Serial)
	}
	response, err := ocsp.ParseResponseForCert(der, &x509.Certificate{SerialNumber: serial}, issuer)
	if err != nil {
		return "", err
	}
	if now := time.Now(); now.Before(response.ThisUpdate) || now.After(response.NextUpdate) {
		return "", errors.New("the answer is not current")
	}
	words := map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}
	return words[response.Status], nil
}

func certificates(files []string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, file := range files {
		der, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
