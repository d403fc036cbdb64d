// A groktunnel client: go run . localhost:9999 myapp localhost:3000
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/hashicorp/yamux"
)

func main() {
	server, name, local := os.Args[1], os.Args[2], os.Args[3]
	conn := must(net.Dial("tcp", server))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: yamux\r\nX-Subdomain: %s\r\n\r\n", server, name)
	reader := bufio.NewReader(conn) // may hold the first frames already, so the session reads through it
	answer := must(http.ReadResponse(reader, nil))
	if answer.StatusCode != 101 {
		log.Fatalf("%s: %s", answer.Status, must(io.ReadAll(answer.Body)))
	}
	fmt.Println(answer.Header.Get("X-Public-Url"))
	session := must(yamux.Client(struct {
		io.Reader
		io.WriteCloser
	}{reader, conn}, nil))
	for {
		go join(must(session.AcceptStream()), local)
	}
}

// join connects a channel with the local service. Either side may end first; Close of a channel ends our side only.
func join(channel *yamux.Stream, local string) {
	conn, err := net.Dial("tcp", local)
	if err != nil {
		fmt.Fprint(channel, "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		channel.Close()
		return
	}
	defer conn.Close()
	ended := make(chan struct{})
	go func() { io.Copy(channel, conn); channel.Close(); close(ended) }()
	if _, err := io.Copy(conn, channel); err != nil {
		conn.(*net.TCPConn).SetLinger(0) // the channel was reset, so conn is too
		return
	}
	conn.(*net.TCPConn).CloseWrite()
	<-ended
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
