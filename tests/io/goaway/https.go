// An HTTPS server of net/http that says GOAWAY while it answers: /close by a header, /shutdown by
// Server.Shutdown. Its first line of output is its port.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := &http.Server{}
	stopping := make(chan struct{})
	server.RegisterOnShutdown(func() { close(stopping) })
	http.HandleFunc("/close", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "closed")
	})
	http.HandleFunc("/shutdown", func(w http.ResponseWriter, r *http.Request) {
		go server.Shutdown(context.Background())
		<-stopping
		fmt.Fprint(w, "shut ")
		w.(http.Flusher).Flush()
		fmt.Fprint(w, "down")
	})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server.ServeTLS(listener, os.Args[1], os.Args[2])
	select {}
}
