# What the gate of the API answers, with two versions of the test's own.
package api.authz_test

import data.api.authz

reading := {"x-api-version": "2026-03", "x-request-source": "web-shop"}

writing := object.union(reading, {"content-type": "application/json"})

# === allowed ===

test_a_read_needs_version_and_source if {
	every method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
		decision(method, "/orders/7?page=2", reading) == {"allowed": true, "response_headers_to_add": {}}
	}
}

test_a_write_needs_json_too if {
	every type in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=utf-8"] {
		decision("POST", "/orders", object.union(reading, {"content-type": type})).allowed
	}
}

test_a_version_that_ends_says_when if {
	answer := decision("GET", "/orders", object.union(reading, {"x-api-version": "2025-06"}))
	answer.allowed
	answer.response_headers_to_add == {"sunset": "Thu, 31 Dec 2026 23:59:59 GMT"}
}

test_the_probe_needs_no_headers if {
	decision("GET", "/healthz", {}).allowed
	decision("HEAD", "/healthz?full=1", {}).allowed
}

# === denied ===

test_a_missing_header_is_named if {
	refused(400, ["missing header x-api-version"], decision("GET", "/orders", object.remove(reading, ["x-api-version"])))
	refused(400, ["missing header x-request-source"], decision("GET", "/orders", object.remove(reading, ["x-request-source"])))
}

test_all_faults_are_told_at_once if {
	refused(
		400,
		["missing header content-type", "missing header x-api-version", "missing header x-request-source"],
		decision("POST", "/orders", {}),
	)
}

test_a_refusal_is_json if {
	answer := decision("POST", "/orders", {})
	answer.headers == {"content-type": "application/json"}
}

test_a_version_must_be_supported if {
	every version in ["2024-01", "", "2026-03 ", "*", "2025-06,2026-03", "2026-03,2026-03"] {
		refused(400, ["unsupported x-api-version"], decision("GET", "/orders", object.union(reading, {"x-api-version": version})))
	}
}

test_a_source_is_one_short_name if {
	every source in ["", "Web", "web shop", "7up", "web,cron", "web\ncron", sprintf("w%064d", [0])] {
		refused(400, ["malformed x-request-source"], decision("GET", "/orders", object.union(reading, {"x-request-source": source})))
	}
}

test_a_write_of_another_type_is_415 if {
	refused(415, ["missing header content-type"], decision("POST", "/orders", reading))
	every type in [
		"", "text/plain", "application/jsonp", "application/xml; was=application/json", "application/json,text/plain",
		"application/json;a=b,text/plain", "application/jso", "multipart/form-data", "application/json\n", "json",
	] {
		refused(415, ["content-type is not application/json"], decision("PUT", "/orders/7", object.union(reading, {"content-type": type})))
	}
}

test_two_kinds_of_fault_are_400 if {
	refused(
		400,
		["content-type is not application/json", "unsupported x-api-version"],
		decision("PATCH", "/orders/7", {"x-api-version": "1", "x-request-source": "web", "content-type": "text/plain"}),
	)
}

test_a_method_nobody_thought_of_counts_as_a_write if {
	every method in ["post", "get", "PROPPATCH", "PATCH"] {
		refused(415, ["missing header content-type"], decision(method, "/orders", reading))
	}
}

test_nothing_is_allowed_without_input if {
	not authz.decision.allowed with input as {} with data.api_versions as versions
}

# === hostile ===

test_the_probe_is_one_path_and_two_methods if {
	every path in [
		"//healthz", "/healthz/", "/healthz/../orders", "/orders/../healthz", "/%68ealthz", "/healthz%2f", "/HEALTHZ",
		"/healthz;x", "/healthz%00", "/healthz/orders", "/healthz#", `\healthz`, "/.healthz",
	] {
		decision("GET", path, {}).allowed == false
	}
	decision("POST", "/healthz", {}).allowed == false
}

test_a_path_with_two_readings_is_400 if {
	every path in ["//orders", "/orders/", "/a//b", "/a/../b", "/a/%2e%2e/b", "/a%2Fb", "/a;b=c", `/a\b`, "/a%00", "*"] {
		refused(400, ["ambiguous path"], decision("GET", path, reading))
		refused(400, ["ambiguous path"], decision("POST", path, writing))
	}
}

# === the answer, asked for ===

decision(method, path, headers) := answer if {
	answer := authz.decision with input as request(method, path, headers) with data.api_versions as versions
}

refused(status, errors, answer) if {
	answer.allowed == false
	answer.http_status == status
	json.unmarshal(answer.body).errors == errors
}

versions := {
	"2025-06": {"sunset": "Thu, 31 Dec 2026 23:59:59 GMT"},
	"2026-03": {},
}

# === the request as the policy sees it ===

# `parsed_path` by opa-envoy-plugin's rule (envoyauth/request.go): cut at the first `?`, decode the whole, drop all leading
# slashes, split.
request(method, path, headers) := {
	"attributes": {"request": {"http": {"method": method, "path": path, "headers": headers}}},
	"parsed_path": split(trim_left(unescaped(split(path, "?")[0]), "/"), "/"),
}

# `urlquery.decode` also turns `+` into a space, which a path does not.
unescaped(path) := urlquery.decode(replace(path, "+", "%2B"))
