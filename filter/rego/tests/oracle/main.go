// Command oracle answers for OPA: it reads requests as JSON lines on its
// standard input and writes one JSON line of answers for each, by OPA's own Go
// packages. See README.md for the form of both.
//
// It runs as two processes, because OPA can panic in ways that end a process
// and can loop without looking at its cancellation: the outer one hands lines
// to the inner one, and starts another when there is no answer.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// request is one line: modules with cases, or calls of builtin functions.
type request struct {
	ID       any             `json:"id,omitempty"`
	Modules  modules         `json:"modules,omitempty"`
	V0       bool            `json:"v0,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Indexing *bool           `json:"indexing,omitempty"`
	Print    *bool           `json:"print,omitempty"`
	Strict   bool            `json:"strict,omitempty"`
	NowNs    int64           `json:"now_ns,omitempty"`

	Cases []evalCase      `json:"cases,omitempty"`
	Query string          `json:"query,omitempty"`
	Input json.RawMessage `json:"input,omitempty"`

	Calls   []call   `json:"calls,omitempty"`
	Builtin string   `json:"builtin,omitempty"`
	Args    []string `json:"args,omitempty"`
}

type evalCase struct {
	Query     string          `json:"query"`
	Input     json.RawMessage `json:"input,omitempty"`
	InputTerm string          `json:"input_term,omitempty"`
}

type call struct {
	Builtin string   `json:"builtin"`
	Args    []string `json:"args"`
}

// modules is an array of texts or an object from file name to text.
type modules map[string]string

func (m *modules) UnmarshalJSON(b []byte) error {
	*m = modules{}
	var list []string
	if json.Unmarshal(b, &list) == nil {
		for i, text := range list {
			(*m)[fmt.Sprintf("m%03d.rego", i)] = text
		}
		return nil
	}
	var named map[string]string
	err := json.Unmarshal(b, &named)
	*m = named
	return err
}

type answer struct {
	ID      any            `json:"id,omitempty"`
	Compile []compileError `json:"compile,omitempty"`
	Bad     string         `json:"bad_request,omitempty"`
	Results []result       `json:"results,omitempty"`
}

type compileError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Place   string `json:"place,omitempty"`
}

type result struct {
	Value     string   `json:"value,omitempty"`
	Values    []string `json:"values,omitempty"`
	Undefined bool     `json:"undefined,omitempty"`
	Error     string   `json:"error,omitempty"`
	Message   string   `json:"message,omitempty"`
	Panic     string   `json:"panic,omitempty"`
	Timeout   bool     `json:"timeout,omitempty"`
	Crash     bool     `json:"crash,omitempty"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-inner" {
		inner(os.Stdin, os.Stdout)
		return
	}
	outer(os.Stdin, os.Stdout)
}

func inner(in io.Reader, out io.Writer) {
	debug.SetMemoryLimit(1 << 30)
	debug.SetMaxStack(256 << 20)
	r := bufio.NewReaderSize(in, 1<<20)
	w := bufio.NewWriterSize(out, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 1 {
			var req request
			var a answer
			if err := json.Unmarshal(line, &req); err != nil {
				a.Bad = err.Error()
			} else {
				a = serve(&req)
			}
			b, _ := json.Marshal(a)
			w.Write(b)
			w.WriteByte('\n')
			w.Flush()
		}
		if err != nil {
			return
		}
	}
}

type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out chan []byte
}

func start() *child {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	// A limit on memory too: an answer of gigabytes must not take the machine.
	cmd := exec.Command("sh", "-c", `ulimit -v 6000000; exec "$0" -inner`, self)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	// Go's own time zones: the system's may have been built another way.
	if zones := filepath.Join(runtime.GOROOT(), "lib/time/zoneinfo.zip"); os.Getenv("ZONEINFO") == "" && exists(zones) {
		cmd.Env = append(cmd.Env, "ZONEINFO="+zones)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if os.Getenv("ORACLE_STDERR") != "" {
		cmd.Stderr = os.Stderr
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	c := &child{cmd, in, make(chan []byte, 1)}
	go func() {
		r := bufio.NewReaderSize(out, 1<<20)
		for {
			line, err := r.ReadBytes('\n')
			if err != nil {
				close(c.out)
				return
			}
			c.out <- line
		}
	}()
	return c
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *child) stop() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// ask hands one line on; the answer is nil if there is none.
func (c *child) ask(line []byte, limit time.Duration) (answer []byte, timeout bool) {
	go c.in.Write(line)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-c.out:
		return a, false
	case <-timer.C:
		return nil, true
	}
}

func outer(in io.Reader, out io.Writer) {
	limit := time.Second
	if s := os.Getenv("ORACLE_TIMEOUT_MS"); s != "" {
		if n, err := strconv.Atoi(s); err == nil {
			limit = time.Duration(n) * time.Millisecond
		}
	}
	r := bufio.NewReaderSize(in, 1<<20)
	c := start()
	defer func() { c.stop() }()
	ask := func(line []byte, limit time.Duration) ([]byte, bool) {
		a, timeout := c.ask(line, limit)
		if a == nil {
			c.stop()
			c = start()
		}
		return a, timeout
	}
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 1 {
			if line[len(line)-1] != '\n' {
				line = append(line, '\n')
			}
			a, timeout := ask(line, limit)
			if a == nil {
				a = singly(line, timeout, limit, ask)
			}
			out.Write(a)
		}
		if err != nil {
			return
		}
	}
}

// singly asks again, one case or call at a time, to find the one without an answer.
func singly(line []byte, timeout bool, limit time.Duration, ask func([]byte, time.Duration) ([]byte, bool)) []byte {
	var req request
	lost := func(timeout bool) result { return result{Timeout: timeout, Crash: !timeout} }
	marshal := func(a answer) []byte {
		b, _ := json.Marshal(a)
		return append(b, '\n')
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return marshal(answer{Bad: err.Error()})
	}
	if len(req.Cases)+len(req.Calls) <= 1 {
		return marshal(answer{ID: req.ID, Results: []result{lost(timeout)}})
	}
	all := answer{ID: req.ID}
	one := func(one request) bool {
		b, _ := json.Marshal(one)
		a, timeout := ask(append(b, '\n'), limit)
		if a == nil {
			all.Results = append(all.Results, lost(timeout))
			return true
		}
		var got answer
		if json.Unmarshal(a, &got) != nil || len(got.Results) != 1 {
			all.Compile, all.Bad = got.Compile, got.Bad
			return false
		}
		all.Results = append(all.Results, got.Results...)
		return true
	}
	for i := range req.Cases {
		part := req
		part.Cases = req.Cases[i : i+1]
		if !one(part) {
			break
		}
	}
	for i := range req.Calls {
		part := req
		part.Calls = req.Calls[i : i+1]
		if !one(part) {
			break
		}
	}
	return marshal(all)
}
