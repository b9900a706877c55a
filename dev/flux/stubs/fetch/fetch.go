// Package fetch stands in for github.com/fluxcd/pkg/http/fetch, which not every proxy of Go modules has. It is written from its
// callers:
// it downloads a .tar.gz over http, checks its sha256 digest and unpacks it.
package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/fluxcd/pkg/tar"
)

var (
	ErrFileNotFound   = errors.New("file not found")
	ErrDigestMismatch = errors.New("digest mismatch")
)

type ArchiveFetcher struct {
	host    string
	retries int
	untar   []tar.Option
	tls     *tls.Config
}

type Option func(*ArchiveFetcher)

func WithLogger(any) Option                 { return func(*ArchiveFetcher) {} }
func WithRetries(n int) Option              { return func(f *ArchiveFetcher) { f.retries = n } }
func WithMaxDownloadSize(int) Option        { return func(*ArchiveFetcher) {} }
func WithUntar(o ...tar.Option) Option      { return func(f *ArchiveFetcher) { f.untar = o } }
func WithHostnameOverwrite(h string) Option { return func(f *ArchiveFetcher) { f.host = h } }
func WithTLSConfig(c *tls.Config) Option    { return func(f *ArchiveFetcher) { f.tls = c } }

func New(opts ...Option) *ArchiveFetcher {
	f := &ArchiveFetcher{}
	for _, o := range opts {
		o(f)
	}
	return f
}

func (f *ArchiveFetcher) Fetch(u, digest, dir string) error {
	return f.FetchWithContext(context.Background(), u, digest, dir)
}

func (f *ArchiveFetcher) FetchWithContext(ctx context.Context, u, digest, dir string) error {
	p, err := url.Parse(u)
	if err != nil {
		return err
	}
	if f.host != "" {
		p.Host = f.host
	}
	var body []byte
	for i := 0; ; i++ {
		body, err = f.get(ctx, p.String())
		if err == nil || errors.Is(err, ErrFileNotFound) || i >= f.retries {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return fmt.Errorf("%w: want %s, got %s", ErrDigestMismatch, digest, got)
	}
	return tar.Untar(bytes.NewReader(body), dir, f.untar...)
}

func (f *ArchiveFetcher) get(ctx context.Context, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: f.tls}}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %s", ErrFileNotFound, u)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: %s", u, res.Status)
	}
	return io.ReadAll(res.Body)
}
