// kstatus reads a Kubernetes object as JSON, and prints what Flux's library says of it: its status, a tab, and why.
// It exits with 3 unless the object is Current.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	code, err := judge(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
	}
	os.Exit(code)
}

func judge(in io.Reader, out io.Writer) (int, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return 1, err
	}
	object := &unstructured.Unstructured{}
	// Not encoding/json, whose numbers the library does not take for whole ones.
	if err := object.UnmarshalJSON(text); err != nil {
		return 1, err
	}
	result, err := status.Compute(object)
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(out, "%s\t%s\n", result.Status, result.Message)
	if result.Status != status.CurrentStatus {
		return 3, nil
	}
	return 0, nil
}
