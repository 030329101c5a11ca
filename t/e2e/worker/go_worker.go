// SPDX-License-Identifier: BSD-3-Clause
// A worker in Go, written from doc/writing-workers.md and nothing else: what reads the page must be
// able to do without our libraries. It answers, reads no bodies, and lets lighttpd end the connection.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

const (
	queue         = 0
	headerSize    = 32
	messageMax    = 69664
	controlMax    = 256
	inMemfd       = 1
	endConnection = 32
)

type header struct {
	Magic                           [4]byte
	Version, Kind                   uint8
	Flags                           uint16
	ID                              uint64
	Index, Head, DataLength, Fields uint32
}

var magic = [4]byte{'L', 'F', 'D', 'T'}
var hasBody = regexp.MustCompile(`(?mi)^(content-length|transfer-encoding):`)

// The head, and whether something may follow it; an empty head for what is no request.
func read(message []byte, fds []int) (header, []byte, bool) {
	var h header
	if binary.Read(bytes.NewReader(message), binary.LittleEndian, &h) != nil ||
		h.Magic != magic || h.Version != 2 || h.Kind != 1 || h.Flags > 7 ||
		h.Head == 0 || h.Head > h.DataLength {
		return h, nil, false
	}
	rest := message[headerSize:]
	if h.Flags&inMemfd != 0 {
		if len(fds) != 2 || len(rest) != int(h.Fields) || h.DataLength > 1<<30 {
			return h, nil, false
		}
		rest = make([]byte, h.DataLength)
		if size, err := syscall.Pread(fds[1], rest, 0); err != nil || size != len(rest) {
			return h, nil, false
		}
	} else if len(fds) != 1 || uint64(len(rest)) != uint64(h.DataLength)+uint64(h.Fields) {
		return h, nil, false
	}
	head := rest[:h.Head]
	return h, head, h.DataLength > h.Head || hasBody.Match(head)
}

func answer(client int, head []byte) {
	body := fmt.Sprintf("Hello from Go worker %d\n", os.Getpid())
	response := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
	if !bytes.HasPrefix(head, []byte("HEAD ")) {
		response += body
	}
	syscall.SendmsgN(client, []byte(response), nil, nil, syscall.MSG_NOSIGNAL)
}

// True if lighttpd has taken the connection for its end.
func returnForItsEnd(h header, client int) bool {
	var record bytes.Buffer
	binary.Write(&record, binary.LittleEndian,
		header{Magic: magic, Version: 2, Kind: 4, Flags: endConnection, ID: h.ID, Index: h.Index})
	return syscall.Sendmsg(queue, record.Bytes(), syscall.UnixRights(client), nil,
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL) == nil
}

func serve(message []byte, fds []int) {
	h, head, mayHaveMore := read(message, fds)
	if len(head) == 0 {
		fmt.Fprintln(os.Stderr, "go_worker: not a hand-off")
		return
	}
	client := fds[0]
	answer(client, head)
	if !mayHaveMore || !returnForItsEnd(h, client) {
		syscall.Shutdown(client, syscall.SHUT_WR)
	}
}

// Waits for the next message; false when lighttpd sends no more. (In Go a thread may block: SIGTERM
// comes to another one.)
func receive() bool {
	message, control := make([]byte, messageMax), make([]byte, controlMax)
	size, controlSize, _, _, err := syscall.Recvmsg(queue, message, control, syscall.MSG_CMSG_CLOEXEC)
	if err == syscall.EINTR || err == syscall.EAGAIN {
		return true
	}
	var fds []int
	messages, _ := syscall.ParseSocketControlMessage(control[:controlSize])
	for i := range messages {
		rights, _ := syscall.ParseUnixRights(&messages[i])
		fds = append(fds, rights...)
	}
	if err != nil || (size == 0 && len(fds) == 0) {
		return false
	}
	serve(message[:size], fds)
	for _, fd := range fds {
		syscall.Close(fd)
	}
	return true
}

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(0) // nothing is in work for longer than a write
	}()
	for receive() {
	}
}
