// A groktunnel client: go run . http://localhost:9999 myapp localhost:3000
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/hashicorp/yamux"
)

func main() {
	request := must(http.NewRequest("GET", os.Args[1], nil))
	request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"yamux"}, "X-Subdomain": {os.Args[2]}}
	answer := must(http.DefaultClient.Do(request))
	if answer.StatusCode != http.StatusSwitchingProtocols {
		log.Fatalf("%s: %s", answer.Status, must(io.ReadAll(answer.Body)))
	}
	fmt.Println(answer.Header.Get("X-Public-Url"))
	session := must(yamux.Client(answer.Body.(io.ReadWriteCloser), nil)) // after a 101 it is the connection
	for {
		go join(must(session.AcceptStream()), os.Args[3])
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
