//go:build tools

// Package osm names what is built of Open Service Mesh, so that `go mod tidy` keeps what that needs.
package osm

import (
	_ "github.com/openservicemesh/osm/cmd/osm-controller"
	_ "github.com/openservicemesh/osm/cmd/osm-healthcheck"
	_ "github.com/openservicemesh/osm/cmd/osm-injector"
)
