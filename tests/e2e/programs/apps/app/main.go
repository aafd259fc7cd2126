// app is what the pods of the tests run: well or ill, as it is told.
//
//	app [-shift N]    HTTP on 8080, HTTPS on 8443, gRPC health checks on 9090, TCP on 7070;
//	                  by -network tcp6 on IPv6 alone
//	app ask URL       an HTTP GET: for `kubectl exec`, as the image holds nothing else
//
// /ill and /well set what every other path and gRPC say, /close ends the TCP listener. /ill?status=403
// is ill in another way than with 503. One line a request goes to standard output.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	ill     atomic.Int32 // the status that it answers with, 0 where it is well
	started = time.Now()
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "ask" {
		ask(os.Args[2])
		return
	}
	shift := flag.Int("shift", 0, "what is added to each port")
	network := flag.String("network", "tcp", "tcp, or one version of IP alone: tcp4, tcp6")
	startup := flag.Duration("startup", 0, "that /startup says 503")
	linger := flag.Duration("linger", 0, "that it goes on serving after SIGTERM")
	run := flag.Duration("run", 0, "after which it ends, as a job does; never where it is 0")
	flag.Parse()
	if *run > 0 {
		time.AfterFunc(*run, func() { os.Exit(0) })
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		fmt.Println("terminated")
		time.Sleep(*linger)
		os.Exit(128 + int(syscall.SIGTERM))
	}()

	tcp := listen(*network, *shift+7070)
	go accept(tcp)
	mux := http.NewServeMux()
	mux.HandleFunc("/ill", func(_ http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(r.URL.Query().Get("status"))
		if err != nil {
			status = http.StatusServiceUnavailable
		}
		ill.Store(int32(status))
	})
	mux.HandleFunc("/well", func(http.ResponseWriter, *http.Request) { ill.Store(0) })
	mux.HandleFunc("/close", func(http.ResponseWriter, *http.Request) { tcp.Close() })
	mux.HandleFunc("/hook", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/startup", func(w http.ResponseWriter, r *http.Request) {
		if time.Since(started) < *startup {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if status := ill.Load(); status != 0 {
			http.Error(w, "ill", int(status))
			return
		}
		fmt.Fprintln(w, "books")
	})
	go serve(&http.Server{Handler: logged(mux)}, listen(*network, *shift+8080))
	go serve(&http.Server{Handler: logged(mux)}, tls.NewListener(listen(*network, *shift+8443), &tls.Config{
		Certificates: []tls.Certificate{selfSigned()},
		NextProtos:   []string{"http/1.1"},
	}))
	cleartext := new(http.Protocols)
	cleartext.SetUnencryptedHTTP2(true)
	serve(&http.Server{Handler: logged(http.HandlerFunc(check)), Protocols: cleartext}, listen(*network, *shift+9090))
}

func listen(network string, port int) net.Listener {
	listener, err := net.Listen(network, fmt.Sprintf(":%d", port))
	if err != nil {
		panic(err)
	}
	return listener
}

func serve(server *http.Server, listener net.Listener) {
	panic(server.Serve(listener))
}

func accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		connection.Close()
	}
}

func logged(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.RequestURI(), r.Host, r.UserAgent())
		handler.ServeHTTP(w, r)
	})
}

// check answers grpc.health.v1.Health/Check: HealthCheckResponse{status: SERVING or NOT_SERVING}.
func check(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	status := byte(1)
	if ill.Load() != 0 {
		status = 2
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	w.Write([]byte{0, 0, 0, 0, 2, 0x08, status})
	w.Header().Set("Grpc-Status", "0")
}

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"app"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func ask(url string) {
	answer, err := http.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	io.Copy(os.Stdout, answer.Body)
	if answer.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, answer.Status)
		os.Exit(1)
	}
}
