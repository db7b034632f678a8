// A filter in Go without an SDK, for the Go compiler's own WebAssembly target: it answers each path with another part of
// the ABI, and lives on Go's runtime and its garbage collector.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"
)

const (
	requestHeaders  = 0
	responseHeaders = 2
	pluginConfig    = 7
	callBody        = 4
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, data unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTick(period uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(kind, start, size uint32, data, length unsafe.Pointer) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeader(kind uint32, name unsafe.Pointer, size uint32, data, length unsafe.Pointer) uint32

//go:wasmimport env proxy_add_header_map_value
func proxyAddHeader(kind uint32, name unsafe.Pointer, size uint32, value unsafe.Pointer, length uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxyRespond(status uint32, details unsafe.Pointer, detailsSize uint32, body unsafe.Pointer, bodySize uint32, headers unsafe.Pointer, headersSize uint32, grpc int32) uint32

//go:wasmimport env proxy_http_call
func proxyCall(upstream unsafe.Pointer, upstreamSize uint32, headers unsafe.Pointer, headersSize uint32, body unsafe.Pointer, bodySize uint32, trailers unsafe.Pointer, trailersSize uint32, timeout uint32, token unsafe.Pointer) uint32

//go:wasmimport env proxy_set_effective_context
func proxyActOn(context uint32) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinue(kind uint32) uint32

var (
	// What the host was given to write to, so that the garbage collector keeps it until it was read.
	kept     = map[uintptr][]byte{}
	greeting string
	ticks    int
	waiting  = map[uint32]uint32{}
)

func main() {}

func init() {
	fmt.Println("the module starts")
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	memory := make([]byte, size)
	pointer := unsafe.Pointer(unsafe.SliceData(memory))
	kept[uintptr(pointer)] = memory
	return pointer
}

//go:wasmexport proxy_on_vm_start
func onVMStart(root, size uint32) uint32 {
	proxySetTick(1000)
	return 1
}

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	greeting = taken(func(data, length unsafe.Pointer) uint32 {
		return proxyGetBuffer(pluginConfig, 0, size, data, length)
	})
	return uint32(min(len(greeting), 1))
}

//go:wasmexport proxy_on_tick
func onTick(root uint32) {
	ticks++
	proxySetTick(0)
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, count, end uint32) uint32 {
	path := header(requestHeaders, ":path")
	switch path {
	case "/local":
		respond(418, "short and stout")
	case "/ticks":
		respond(200, fmt.Sprint(ticks))
	case "/time":
		respond(200, fmt.Sprint(time.Now().Unix()))
	case "/environment":
		respond(200, os.Getenv("GREETING"))
	case "/garbage":
		length := 0
		for round := range 2000 {
			length += len(strings.Repeat("garbage", 1000+round%7))
		}
		respond(200, fmt.Sprint(length))
	case "/goroutines":
		parts := make(chan string)
		go func() {
			for part := range 3 {
				parts <- fmt.Sprint(part)
			}
			close(parts)
		}()
		text := ""
		for part := range parts {
			text += part
		}
		respond(200, text)
	case "/call":
		cluster, call := "side", pairs(":method", "GET", ":path", "/ask", ":authority", "side")
		var token uint32
		status := proxyCall(text(cluster), size(cluster), text(call), size(call), nil, 0, nil, 0, 2000, unsafe.Pointer(&token))
		if status != 0 {
			respond(500, "the call was refused")
			break
		}
		waiting[token] = context
	case "/panic":
		panic("as it was asked to")
	default:
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_http_call_response
func onCallResponse(root, token, headers, bodySize, trailers uint32) {
	proxyActOn(waiting[token])
	delete(waiting, token)
	body := taken(func(data, length unsafe.Pointer) uint32 {
		return proxyGetBuffer(callBody, 0, bodySize, data, length)
	})
	if body == "pass" {
		proxyContinue(requestHeaders)
	} else {
		respond(403, body)
	}
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(context, count, end uint32) uint32 {
	name := "x-greeting"
	proxyAddHeader(responseHeaders, text(name), size(name), text(greeting), size(greeting))
	return 0
}

func respond(status uint32, body string) {
	headers := pairs("x-local", "yes")
	proxyRespond(status, nil, 0, text(body), size(body), text(headers), size(headers), -1)
}

func header(kind uint32, name string) string {
	return taken(func(data, length unsafe.Pointer) uint32 {
		return proxyGetHeader(kind, text(name), size(name), data, length)
	})
}

// Takes the bytes that a hostcall gives out of the memory that it asked for.
func taken(call func(data, length unsafe.Pointer) uint32) string {
	var data, length uint32
	if call(unsafe.Pointer(&data), unsafe.Pointer(&length)) != 0 || length == 0 {
		return ""
	}
	bytes := string(kept[uintptr(data)][:length])
	delete(kept, uintptr(data))
	return bytes
}

// The ABI's byte form of a header map.
func pairs(entries ...string) string {
	word := func(number int) string {
		return string([]byte{byte(number), byte(number >> 8), byte(number >> 16), byte(number >> 24)})
	}
	sizes, content := word(len(entries)/2), ""
	for _, entry := range entries {
		sizes += word(len(entry))
		content += entry + "\x00"
	}
	return sizes + content
}

func text(value string) unsafe.Pointer {
	return unsafe.Pointer(unsafe.StringData(value))
}

func size(value string) uint32 {
	return uint32(len(value))
}
