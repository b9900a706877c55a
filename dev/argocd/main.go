// argolua ARGOCD-CM OBJECT [ACTION] runs Argo CD's own Lua engine with the scripts of an argocd-cm file over an object in a
// file. It prints "STATUS: MESSAGE", or what the action leaves: "# OPERATION" and the object, for each.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/v3/pkg/health"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argolua:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 2 || len(arguments) > 3 {
		return fmt.Errorf("usage: argolua ARGOCD-CM OBJECT [ACTION]")
	}
	overrides, err := overridesOf(arguments[0])
	if err != nil {
		return err
	}
	object, err := objectOf(arguments[1])
	if err != nil {
		return err
	}
	if len(arguments) == 3 {
		return act(overrides, object, arguments[2])
	}
	return judge(overrides, object)
}

// overridesOf reads the keys resource.customizations.KIND.GROUP_KIND, as Argo CD's settings do.
func overridesOf(file string) (map[string]v1alpha1.ResourceOverride, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var settings corev1.ConfigMap
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return nil, err
	}
	overrides := map[string]v1alpha1.ResourceOverride{}
	for key, script := range settings.Data {
		rest, ok := strings.CutPrefix(key, "resource.customizations.")
		if !ok {
			continue
		}
		what, kind, _ := strings.Cut(rest, ".")
		kind = strings.Replace(kind, "_", "/", 1)
		override := overrides[kind]
		switch what {
		case "health":
			override.HealthLua = script
		case "actions":
			override.Actions = script
		}
		overrides[kind] = override
	}
	return overrides, nil
}

func objectOf(file string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(text)
}

// judge asks where Argo CD's application controller asks.
func judge(overrides map[string]v1alpha1.ResourceOverride, object *unstructured.Unstructured) error {
	status, err := health.GetResourceHealth(object, lua.ResourceHealthOverrides(overrides))
	if err != nil {
		return err
	}
	if status == nil {
		fmt.Println("none: no script for this kind")
		return nil
	}
	fmt.Printf("%s: %s\n", status.Status, status.Message)
	return nil
}

func act(overrides map[string]v1alpha1.ResourceOverride, object *unstructured.Unstructured, name string) error {
	vm := lua.VM{ResourceOverrides: overrides}
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		return err
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		return err
	}
	for _, resource := range impacted {
		text, err := yaml.Marshal(resource.UnstructuredObj.Object)
		if err != nil {
			return err
		}
		fmt.Printf("# %s\n%s", resource.K8SOperation, text)
	}
	return nil
}
