// A health server of grpc-go that says GOAWAY while it answers: with MaxConnectionAge ("age"), or
// by GracefulStop ("stop") in the middle of a call. Its first line of output is its port.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	aged := keepalive.ServerParameters{
		MaxConnectionAge:      time.Microsecond,
		MaxConnectionAgeGrace: time.Minute,
	}
	var server *grpc.Server
	answer := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if os.Args[1] == "stop" {
			go server.GracefulStop()
			// It stops to listen, and says GOAWAY right after that.
			for {
				connection, err := net.Dial("tcp", listener.Addr().String())
				if err != nil {
					break
				}
				connection.Close()
			}
		}
		return handler(ctx, request)
	}
	options := []grpc.ServerOption{grpc.UnaryInterceptor(answer)}
	if os.Args[1] == "age" {
		options = append(options, grpc.KeepaliveParams(aged))
	}
	server = grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server.Serve(listener)
	select {}
}
