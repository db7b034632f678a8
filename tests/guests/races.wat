;; What goes wrong between VMs: counters that are read and then written, and news that carry what they tell of.
;;
;; The path's first letter chooses: `c` counts without a compare, `C` with one; `p` raises the status and puts it into the
;; queue; `h` and `x` do what `c` and `p` do, but end it when the request's body has come; `e` puts an item into the queue
;; that tells nothing; `i` does nothing. `n`, `v` and `r` answer with one digit: the counter, the status as the queue told
;; it, and the status as it was read then. Every other answer is seven words: which VM this is, the status that it last took out of
;; the queue, the status that it read when it was last called for the queue, how many items it took, how often it was
;; called, how often for nothing, and the counter.
(module
  (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_send_local_response" (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "counter")
  (data (i32.const 80) "vms")
  (data (i32.const 96) "news")
  (data (i32.const 112) "status")
  (data (i32.const 128) ":path")
  (data (i32.const 144) "race_held")
  ;; Results: pointer at 16, size at 20, CAS or token at 24; what is written at 32.
  (global $heap (mut i32) (i32.const 4096))
  (global $token (mut i32) (i32.const 0))
  (global $held (mut i32) (i32.const 0))
  (global $letter (mut i32) (i32.const 0))
  (global $value (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))
    (local.get $at))
  (func (export "proxy_on_context_create") (param i32 i32) (global.set $heap (i32.const 4096)))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))

  ;; The word under a key, 0 when there is none; its CAS number, or the one that only creates, is at 24.
  (func $read (param $key i32) (param $size i32) (result i32)
    (global.set $heap (i32.const 4096))
    (if (call $get (local.get $key) (local.get $size) (i32.const 16) (i32.const 20) (i32.const 24))
      (then (i32.store (i32.const 24) (i32.const -1)) (return (i32.const 0))))
    (i32.load (i32.load (i32.const 16))))
  (func $write (param $key i32) (param $size i32) (param $value i32) (param $cas i32) (result i32)
    (i32.store (i32.const 32) (local.get $value))
    (call $set (local.get $key) (local.get $size) (i32.const 32) (i32.const 4) (local.get $cas)))
  ;; Raises a word by one under its CAS number, as often as it takes; gives the new one.
  (func $raise (param $key i32) (param $size i32) (result i32)
    (local $value i32)
    (loop $again
      (local.set $value (i32.add (call $read (local.get $key) (local.get $size)) (i32.const 1)))
      (br_if $again (call $write (local.get $key) (local.get $size) (local.get $value) (i32.load (i32.const 24)))))
    (local.get $value))
  (func $tell (param $status i32)
    (i32.store (i32.const 32) (local.get $status))
    (drop (call $enqueue (global.get $token) (i32.const 32) (i32.const 4))))
  ;; What a filter does between two hostcalls.
  (func $work (param $left i32)
    (loop $next
      (i32.store (i32.const 48) (local.get $left))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (local.get $left))))
  (func $count_in_state (param $at i32)
    (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1))))
  (func $answer
    (i32.store (i32.const 280) (call $read (i32.const 64) (i32.const 7)))
    (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 256) (i32.const 28)
      (i32.const 0) (i32.const 0) (i32.const -1))))

  (func $digit (param $value i32)
    (i32.store8 (i32.const 40) (i32.add (local.get $value) (i32.const 48)))
    (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 40) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const -1))))

  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (i32.store (i32.const 256) (call $raise (i32.const 80) (i32.const 3)))
    (drop (call $register (i32.const 96) (i32.const 4) (i32.const 24)))
    (global.set $token (i32.load (i32.const 24)))
    (drop (call $define (i32.const 0) (i32.const 144) (i32.const 9) (i32.const 24)))
    (global.set $held (i32.load (i32.const 24)))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $heap (i32.const 4096))
    (drop (call $header (i32.const 0) (i32.const 128) (i32.const 5) (i32.const 16) (i32.const 20)))
    (global.set $letter (i32.load8_u offset=1 (i32.load (i32.const 16))))
    (if (i32.eq (global.get $letter) (i32.const 99)) ;; c
      (then
        (global.set $value (call $read (i32.const 64) (i32.const 7)))
        (call $work (i32.const 20000))
        (drop (call $write (i32.const 64) (i32.const 7) (i32.add (global.get $value) (i32.const 1)) (i32.const 0)))))
    (if (i32.eq (global.get $letter) (i32.const 67)) ;; C
      (then (drop (call $raise (i32.const 64) (i32.const 7)))))
    (if (i32.eq (global.get $letter) (i32.const 112)) ;; p
      (then
        (global.set $value (call $raise (i32.const 112) (i32.const 6)))
        (call $work (i32.const 300000))
        (call $tell (global.get $value))))
    (if (i32.eq (global.get $letter) (i32.const 101)) ;; e
      (then (call $tell (i32.const 0))))
    (if (i32.eq (global.get $letter) (i32.const 104)) ;; h
      (then
        (global.set $value (call $read (i32.const 64) (i32.const 7)))
        (drop (call $increment (global.get $held) (i64.const 1)))
        (return (i32.const 1))))
    (if (i32.eq (global.get $letter) (i32.const 120)) ;; x
      (then
        (global.set $value (call $raise (i32.const 112) (i32.const 6)))
        (drop (call $increment (global.get $held) (i64.const 1)))
        (return (i32.const 1))))
    (if (i32.eq (global.get $letter) (i32.const 110)) ;; n
      (then (call $digit (call $read (i32.const 64) (i32.const 7))) (return (i32.const 1))))
    (if (i32.eq (global.get $letter) (i32.const 118)) ;; v
      (then (call $digit (i32.load (i32.const 260))) (return (i32.const 1))))
    (if (i32.eq (global.get $letter) (i32.const 114)) ;; r
      (then (call $digit (i32.load (i32.const 264))) (return (i32.const 1))))
    (call $answer)
    (i32.const 1))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
    (if (i32.eq (global.get $letter) (i32.const 104))
      (then (drop (call $write (i32.const 64) (i32.const 7) (i32.add (global.get $value) (i32.const 1)) (i32.const 0)))))
    (if (i32.eq (global.get $letter) (i32.const 120)) (then (call $tell (global.get $value))))
    (call $answer)
    (i32.const 1))

  (func (export "proxy_on_queue_ready") (param i32 i32)
    (call $count_in_state (i32.const 272))
    (global.set $heap (i32.const 4096))
    (if (call $dequeue (global.get $token) (i32.const 16) (i32.const 20))
      (then (call $count_in_state (i32.const 276)))
      (else
        (loop $next
          (call $count_in_state (i32.const 268))
          (i32.store (i32.const 260) (i32.load (i32.load (i32.const 16))))
          (global.set $heap (i32.const 4096))
          (br_if $next (i32.eqz (call $dequeue (global.get $token) (i32.const 16) (i32.const 20)))))))
    (i32.store (i32.const 264) (call $read (i32.const 112) (i32.const 6))))
)
