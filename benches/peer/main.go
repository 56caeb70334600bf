// Command peer is what the measurements compare with where no tool does the same: a plain program with Go's crypto/x509, which is what
// kubeadm, cfssl, step and x509-certificate-exporter are built on. It also makes the inputs.
//
//	peer generate DIR N   N certificates, half RSA-2048, half P-256: DIR/files/*.crt and DIR/bundle.pem
//	peer limits PROGRAM DIR N   PROGRAM inspects every file of DIR and N mutations of them: no panic, and what the worst one cost
//	peer inspect PATH     a folder of PEM files, or one bundle: a JSON row per certificate on stdout
package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "generate":
		err = generate(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "inspect":
		err = inspect(os.Args[2])
	case len(os.Args) == 5 && os.Args[1] == "limits":
		var count int
		if count, err = strconv.Atoi(os.Args[4]); err == nil {
			err = limits(os.Args[2], os.Args[3], count)
		}
	default:
		err = fmt.Errorf("usage: peer generate DIR N | peer inspect PATH | peer limits PROGRAM DIR N")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

type row struct {
	Path      string    `json:"path"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	SANs      []string  `json:"sans"`
	Algorithm string    `json:"signatureAlgorithm"`
	Key       string    `json:"keyAlgorithm"`
}

func inspect(path string) error {
	var rows []row
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.crt")); err != nil {
			return err
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			found, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			rows = append(rows, row{file, found.Subject.String(), found.Issuer.String(), found.SerialNumber.Text(16), found.NotBefore,
				found.NotAfter, found.DNSNames, found.SignatureAlgorithm.String(), found.PublicKeyAlgorithm.String()})
		}
	}
	out := bufio.NewWriter(os.Stdout)
	if err := json.NewEncoder(out).Encode(rows); err != nil {
		return err
	}
	return out.Flush()
}

func generate(dir, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	files := filepath.Join(dir, "files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return err
	}
	bundle, err := os.Create(filepath.Join(dir, "bundle.pem"))
	if err != nil {
		return err
	}
	defer bundle.Close()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	// Keys are not what is measured: one of each kind does for all.
	second, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	keys := []crypto.PublicKey{signer.Public(), second.Public()}
	start := time.Now().Truncate(time.Second)
	ca := template(0, start)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	for i := 1; i <= n; i++ {
		der, err := x509.CreateCertificate(rand.Reader, template(i, start), ca, keys[i%2], signer)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("%05d.crt", i)), text, 0o644); err != nil {
			return err
		}
		if _, err := bundle.Write(text); err != nil {
			return err
		}
	}
	return bundle.Close()
}

func template(number int, start time.Time) *x509.Certificate {
	name := fmt.Sprintf("node-%05d", number)
	return &x509.Certificate{
		SerialNumber: big.NewInt(int64(number) + 1_000_000),
		Subject:      pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}},
		NotBefore:    start,
		NotAfter:     start.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{name, name + ".example.internal"},
	}
}
