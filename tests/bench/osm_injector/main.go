// OSM's own injector, alone: the webhook of its pkg/injector on 9090, with everything around it left
// out. Its cluster is a fake of client-go with one namespace that is in the mesh; its certificates are
// made as in a cluster, by OSM's own issuer, one for every pod that it admits.
package main

import (
	"context"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/openservicemesh/osm/pkg/apis/config/v1alpha2"
	tresor "github.com/openservicemesh/osm/pkg/certificate/providers/tresor/fake"
	"github.com/openservicemesh/osm/pkg/configurator"
	"github.com/openservicemesh/osm/pkg/constants"
	"github.com/openservicemesh/osm/pkg/injector"
	"github.com/openservicemesh/osm/pkg/k8s"
	"github.com/openservicemesh/osm/pkg/logger"
)

// cluster answers the two questions that an admission asks; any other is a nil pointer.
type cluster struct{ k8s.Controller }

func (cluster) IsMonitoredNamespace(string) bool { return true }

func (cluster) GetNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:        name,
		Annotations: map[string]string{constants.SidecarInjectionAnnotation: "enabled"},
	}}
}

type config struct{ configurator.Configurator }

func (config) GetMeshConfig() v1alpha2.MeshConfig             { return v1alpha2.MeshConfig{} }
func (config) GetEnvoyImage() string                          { return "envoyproxy/envoy:v1.22" }
func (config) GetEnvoyWindowsImage() string                   { return "envoyproxy/envoy-windows:v1.22" }
func (config) GetInitContainerImage() string                  { return "openservicemesh/init:v1.2.4" }
func (config) IsPrivilegedInitContainer() bool                { return false }
func (config) GetProxyResources() corev1.ResourceRequirements { return corev1.ResourceRequirements{} }
func (config) GetEnvoyLogLevel() string                       { return "error" }

func main() {
	if err := logger.SetLogLevel("error"); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	err := injector.NewMutatingWebhook(ctx, fake.NewSimpleClientset(), tresor.NewFake(nil, time.Hour),
		cluster{}, "osm", "osm-system", "osm-webhook", "v1.2.4", 10, false, config{}, corev1.PullIfNotPresent)
	if err != nil {
		log.Fatal(err)
	}
	select {}
}
