// Kubernetes' own prober on a pipe: one JSON request a line in, one JSON answer a line out.
//
// A request is {"handler": a ProbeHandler as in a manifest, "podIP": "...", "ports": [ContainerPort],
// "timeout": seconds}. An answer is {"result": "success", "output": base64, "error": text or null}.
// Answers come in the order of the requests; the next request is read after the answer is written.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/probe"
	grpcprobe "k8s.io/kubernetes/pkg/probe/grpc"
	httpprobe "k8s.io/kubernetes/pkg/probe/http"
	tcpprobe "k8s.io/kubernetes/pkg/probe/tcp"
)

type request struct {
	Handler v1.ProbeHandler    `json:"handler"`
	PodIP   string             `json:"podIP"`
	Ports   []v1.ContainerPort `json:"ports"`
	Timeout float64            `json:"timeout"`
}

type answer struct {
	Result probe.Result `json:"result"`
	Output []byte       `json:"output"`
	Error  *string      `json:"error"`
}

// The kubelet makes these once (newProber in pkg/kubelet/prober/prober.go).
var (
	httpProber = httpprobe.New(false)
	tcpProber  = tcpprobe.New()
	grpcProber = grpcprobe.New()
)

// runProbe does what the method of that name does in pkg/kubelet/prober/prober.go.
func runProbe(asked request) (probe.Result, string, error) {
	timeout := time.Duration(asked.Timeout * float64(time.Second))
	container := &v1.Container{Ports: asked.Ports}
	switch handler := asked.Handler; {
	case handler.HTTPGet != nil:
		req, err := httpprobe.NewRequestForHTTPGetAction(handler.HTTPGet, container, asked.PodIP, "probe")
		if err != nil {
			return probe.Unknown, "", err
		}
		return httpProber.Probe(req, timeout)
	case handler.TCPSocket != nil:
		port, err := probe.ResolveContainerPort(handler.TCPSocket.Port, container)
		if err != nil {
			return probe.Unknown, "", err
		}
		host := handler.TCPSocket.Host
		if host == "" {
			host = asked.PodIP
		}
		return tcpProber.Probe(host, port, timeout)
	case handler.GRPC != nil:
		service := ""
		if handler.GRPC.Service != nil {
			service = *handler.GRPC.Service
		}
		return grpcProber.Probe(asked.PodIP, service, int(handler.GRPC.Port), timeout)
	}
	return probe.Unknown, "", errors.New("the request has no handler")
}

func main() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	log.SetOutput(io.Discard)
	requests := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := requests.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		var asked request
		if err == nil {
			err = json.Unmarshal(line, &asked)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "no request:", err)
			os.Exit(2)
		}
		result, output, err := runProbe(asked)
		given := answer{Result: result, Output: []byte(output)}
		if err != nil {
			text := err.Error()
			given.Error = &text
		}
		if err := answers.Encode(given); err != nil {
			os.Exit(1)
		}
	}
}
