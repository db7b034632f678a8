// A filter that answers each path with another part of the AssemblyScript SDK.
export * from "@solo-io/proxy-runtime/proxy";
import {
  BaseContext, Context, Counter, FilterDataStatusValues, FilterHeadersStatusValues, GrpcStatusValues, HeaderPair,
  LogLevelValues, RootContext, WasmResultValues, continue_request, log, registerRootContext, send_local_response,
  stream_context,
} from "@solo-io/proxy-runtime";
import {
  BufferTypeValues, get_buffer_bytes, get_current_time_nanoseconds, get_property, set_property,
  set_tick_period_milliseconds,
} from "@solo-io/proxy-runtime/runtime";

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(String.UTF8.encode(name), String.UTF8.encode(value));
}

class Root extends RootContext {
  ticks: u32 = 0;

  onStart(vm_configuration_size: usize): bool {
    set_tick_period_milliseconds(1000);
    return true;
  }

  onConfigure(configuration_size: u32): bool {
    return super.onConfigure(configuration_size) && this.getConfiguration() != "refuse";
  }

  onTick(): void {
    this.ticks++;
    log(LogLevelValues.info, "tick " + this.ticks.toString());
  }

  createContext(context_id: u32): Context {
    return new Http(context_id, this);
  }
}

class Http extends Context {
  path: string = "";

  constructor(context_id: u32, root_context: Root) {
    super(context_id, root_context);
  }

  onRequestHeaders(headers: u32, end_of_stream: bool): FilterHeadersStatusValues {
    let request = stream_context.headers.request;
    this.path = request.get(":path");
    if (this.path == "/headers") {
      request.add("x-count", request.get_headers().length.toString());
      request.replace("x-replaced", "new");
      request.remove("x-secret");
    } else if (this.path == "/local") {
      this.respond(418, "short and stout");
      return FilterHeadersStatusValues.StopIteration;
    } else if (this.path == "/properties") {
      set_property("mine", String.UTF8.encode("set"));
      let name = String.UTF8.decode(get_property("plugin_name"));
      let method = String.UTF8.decode(get_property("request\0method"));
      new Counter("as_counter").increment(3);
      let seconds = get_current_time_nanoseconds() / 1000000000;
      this.respond(200, name + " " + method + " " + seconds.toString());
      return FilterHeadersStatusValues.StopIteration;
    } else if (this.path == "/call") {
      let call = [pair(":method", "POST"), pair(":path", "/ask"), pair(":authority", "side")];
      let sent = this.root_context.httpCall("side", call, String.UTF8.encode("question"), [], 2000, this,
        (origin: BaseContext, headers: u32, body_size: usize, trailers: u32): void => {
          let context = origin as Http;
          if (headers == 0) {
            context.respond(504, "no answer");
            return;
          }
          let body = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, body_size as u32));
          if (body == "pass") {
            stream_context.headers.request.add("x-side", stream_context.headers.http_callback.get(":status"));
            continue_request();
          } else {
            context.respond(403, body);
          }
        });
      if (sent != WasmResultValues.Ok) {
        this.respond(500, "the call was refused");
      }
      return FilterHeadersStatusValues.StopIteration;
    } else if (this.path == "/abort") {
      throw new Error("as it was asked to");
    }
    return FilterHeadersStatusValues.Continue;
  }

  onRequestBody(body_buffer_length: usize, end_of_stream: bool): FilterDataStatusValues {
    if (!end_of_stream) {
      return FilterDataStatusValues.StopIterationAndBuffer;
    }
    let body = get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, body_buffer_length as u32);
    log(LogLevelValues.info, "body: " + String.UTF8.decode(body));
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(headers: u32, end_of_stream: bool): FilterHeadersStatusValues {
    stream_context.headers.response.add("x-greeting", this.root_context.getConfiguration());
    return FilterHeadersStatusValues.Continue;
  }

  onLog(): void {
    log(LogLevelValues.info, "over: " + this.path);
  }

  respond(status: u32, body: string): void {
    let headers = [pair("x-local", "yes")];
    send_local_response(status, "details", String.UTF8.encode(body), headers, GrpcStatusValues.Internal);
  }
}

// The same plugin under the names of two hosts.
registerRootContext((context_id: u32) => { return new Root(context_id); }, "gate_root");
registerRootContext((context_id: u32) => { return new Root(context_id); }, "portcullis");
