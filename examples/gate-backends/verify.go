package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	keySet   = "http://127.0.0.1:9180/.well-known/jwks.json"
	issuer   = "cloakroom"
	audience = "wiki.example.com"
)

// Claims are what the gate says about the user.
type Claims struct {
	Issuer   string   `json:"iss"`
	Audience string   `json:"aud"`
	Subject  string   `json:"sub"`
	Expires  int64    `json:"exp"`
	Username string   `json:"preferred_username"`
	Groups   []string `json:"groups"`
}

// Verify returns what the gate says about the user, or an error if the assertion is not valid here.
func Verify(assertion string) (*Claims, error) {
	parts := strings.Split(assertion, ".")
	var header struct{ Alg, Kid string }
	if len(parts) != 3 || decode(parts[0], &header) != nil || header.Alg != "ES256" {
		return nil, errors.New("no assertion of a gate")
	}
	key, err := publicKey(header.Kid)
	if err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return nil, errors.New("no signature")
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(key, hash[:], r, s) {
		return nil, errors.New("the signature is another one")
	}
	var claims Claims
	switch {
	case decode(parts[1], &claims) != nil, claims.Subject == "":
		return nil, errors.New("no claims")
	case claims.Issuer != issuer, claims.Audience != audience:
		return nil, errors.New("for another service")
	case time.Now().Unix() >= claims.Expires:
		return nil, errors.New("expired")
	}
	return &claims, nil
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

var (
	lock    sync.Mutex
	keys    map[string]*ecdsa.PublicKey
	fetched time.Time
	client  = http.Client{Timeout: 5 * time.Second}
)

// publicKey asks the gate for its keys every five minutes, and at most every ten seconds for a key that it does not know.
func publicKey(kid string) (*ecdsa.PublicKey, error) {
	lock.Lock()
	defer lock.Unlock()
	age := time.Since(fetched)
	if key := keys[kid]; key != nil && age < 5*time.Minute {
		return key, nil
	}
	if age > 10*time.Second {
		fetched = time.Now()
		if err := fetchKeys(); err != nil && keys[kid] == nil {
			return nil, err
		}
	}
	if key := keys[kid]; key != nil {
		return key, nil
	}
	return nil, errors.New("unknown key")
}

func fetchKeys() error {
	response, err := client.Get(keySet)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X, Y string }
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return err
	}
	found := map[string]*ecdsa.PublicKey{}
	for _, key := range set.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(key.X)
		y, errY := base64.RawURLEncoding.DecodeString(key.Y)
		point := ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		if errX == nil && errY == nil && key.Kty == "EC" && key.Crv == "P-256" && point.IsOnCurve(point.X, point.Y) {
			found[key.Kid] = &point
		}
	}
	keys = found
	return nil
}
