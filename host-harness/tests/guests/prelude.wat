;; What every guest of these tests begins with: all imports that they use, an allocator, and ways to log.
;; Places of results: 16 pointer, 20 size, 24 word (token, id, cas), 32 number of 64 bits.
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_log_level" (func $get_log_level (param i32) (result i32)))
  (import "env" "proxy_get_status" (func $get_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $set_tick (param i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $get_time (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $set_context (param i32) (result i32)))
  (import "env" "proxy_done" (func $done (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register_queue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve_queue (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $get_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $get_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove_header (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_status" (func $get_buffer_status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define_metric (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment_metric (param i32 i64) (result i32)))
  (import "env" "proxy_record_metric" (func $record_metric (param i32 i64) (result i32)))
  (import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $call_foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_call" (func $grpc_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $grpc_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_send" (func $grpc_send (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_cancel" (func $grpc_cancel (param i32) (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc_close (param i32) (result i32)))
  (import "env" "envoy_resolve_dns" (func $resolve_dns (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_unstable" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))

  (memory (export "memory") 2)
  (func (export "proxy_abi_version_0_2_1"))

  ;; Texts of a test lie below 32768; the allocator only ever goes up.
  (global $top (mut i32) (i32.const 32768))
  (func $malloc (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $top))
    (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (block $enough
      (loop $grow
        (br_if $enough (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $enough (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
        (br $grow)))
    (local.get $at))

  ;; Logs text at level info.
  (func $tell (param $text i32) (param $size i32)
    (drop (call $log (i32.const 2) (local.get $text) (local.get $size))))

  ;; Logs a number in decimal.
  (func $say (param $number i32)
    (local $at i32)
    (local.set $at (i32.const 64))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (br_if $digit (local.get $number)))
    (call $tell (local.get $at) (i32.sub (i32.const 64) (local.get $at))))

  ;; Logs the bytes that the last hostcall gave.
  (func $tell_result
    (call $tell (i32.load (i32.const 16)) (i32.load (i32.const 20))))

  ;; Forgets where the last hostcall put its bytes.
  (func $clear
    (i64.store (i32.const 16) (i64.const 0)))

  ;; Logs the value of a header, or the status when there is none.
  (func $tell_header (param $map i32) (param $name i32) (param $size i32)
    (local $status i32)
    (call $clear)
    (local.set $status
      (call $get_header (local.get $map) (local.get $name) (local.get $size) (i32.const 16) (i32.const 20)))
    (if (local.get $status) (then (call $say (local.get $status))) (else (call $tell_result))))

  ;; Logs a property, or the status when there is none.
  (func $tell_property (param $path i32) (param $size i32)
    (local $status i32)
    (call $clear)
    (local.set $status (call $get_property (local.get $path) (local.get $size) (i32.const 16) (i32.const 20)))
    (if (local.get $status) (then (call $say (local.get $status))) (else (call $tell_result))))

  ;; Logs a buffer, or the status when there is none.
  (func $tell_buffer (param $type i32)
    (local $status i32)
    (call $clear)
    (local.set $status
      (call $get_buffer (local.get $type) (i32.const 0) (i32.const 100000000) (i32.const 16) (i32.const 20)))
    (if (local.get $status) (then (call $say (local.get $status))) (else (call $tell_result))))

  ;; Answers with a status and a body.
  (func $answer (param $status i32) (param $body i32) (param $size i32)
    (drop (call $respond (local.get $status) (i32.const 0) (i32.const 0) (local.get $body) (local.get $size)
      (i32.const 0) (i32.const 0) (i32.const -1))))

  ;; Adds one to a shared counter and gives it: a byte at the key "count".
  (func $count (result i32)
    (local $value i32)
    (i32.store (i32.const 40) (i32.const 0x6e756f63)) (i32.store8 (i32.const 44) (i32.const 0x74))
    (if (i32.eqz (call $get_shared (i32.const 40) (i32.const 5) (i32.const 16) (i32.const 20) (i32.const 24)))
      (then (local.set $value (i32.load8_u (i32.load (i32.const 16))))))
    (local.set $value (i32.add (local.get $value) (i32.const 1)))
    (i32.store8 (i32.const 48) (local.get $value))
    (drop (call $set_shared (i32.const 40) (i32.const 5) (i32.const 48) (i32.const 1) (i32.const 0)))
    (local.get $value))

  ;; Gets a path from a cluster with a time limit and logs the status of the hostcall.
  (func $fetch (param $cluster i32) (param $size i32) (param $headers i32) (param $headers_size i32) (param $timeout_ms i32)
    (call $say (call $http_call (local.get $cluster) (local.get $size) (local.get $headers) (local.get $headers_size)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (local.get $timeout_ms) (i32.const 24))))
