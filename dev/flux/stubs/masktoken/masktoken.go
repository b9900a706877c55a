// Package masktoken stands in for github.com/fluxcd/pkg/masktoken, which not every proxy of Go modules has.
package masktoken

import (
	"errors"
	"strings"
)

// MaskTokenFromString replaces every occurrence of token in text by stars.
func MaskTokenFromString(text, token string) (string, error) {
	if token == "" {
		return "", errors.New("empty token")
	}
	return strings.ReplaceAll(text, token, "*****"), nil
}
