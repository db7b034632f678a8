;; Refuses a configuration of three bytes, and answers every request with status 200 and as many more as its configuration
;; has bytes. More than 20 headers end its VM.
(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  (data (i32.const 0) "refused")
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $start))
  ;; What a context is configured with stands behind its number; streams have what their root has.
  (func $place (param $context i32) (result i32)
    (i32.add (i32.const 1024) (i32.mul (i32.and (local.get $context) (i32.const 4095)) (i32.const 4))))
  (func (export "proxy_on_context_create") (param $context i32) (param $root i32)
    (i32.store (call $place (local.get $context)) (i32.load (call $place (local.get $root)))))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (i32.store (call $place (local.get $context)) (local.get $size))
    (if (i32.eq (local.get $size) (i32.const 3))
      (then
        (drop (call $log (i32.const 4) (i32.const 0) (i32.const 7)))
        (return (i32.const 0))))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param $context i32) (param $headers i32) (param i32) (result i32)
    (if (i32.gt_u (local.get $headers) (i32.const 20)) (then unreachable))
    (drop (call $respond
      (i32.add (i32.const 200) (i32.load (call $place (local.get $context))))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1))
)
