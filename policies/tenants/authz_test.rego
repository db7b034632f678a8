# What the gate of the tenants answers, with two tenants of the test's own.
package tenants.authz_test

import data.tenants.authz

# === allowed ===

test_a_member_enters_the_tenant if {
	every path in ["/t/acme", "/t/acme/bills", "/t/acme/bills/7?page=2"] {
		decision("GET", path, {"x-user": "ada"}).allowed
	}
	decision("DELETE", "/t/globex/bills/7", {"x-user": "grace"}).allowed
}

test_the_service_is_told_the_tenant if {
	answer := decision("GET", "/t/acme/bills", {"x-user": "ada", "x-tenant": "globex", "x-internal-role": "root"})
	answer.headers == {"x-tenant": "acme", "x-tenant-plan": "gold"}
	answer.request_headers_to_remove == ["x-internal-role"]
	answer.response_headers_to_add == {"vary": "x-user"}
}

# === denied ===

test_an_unknown_tenant_is_not_found if {
	every path in ["/t/initech", "/t/initech/bills", "/t", "/", "/bills", "/x/acme", "/bills/t/acme"] {
		refused(404, "unknown_tenant", decision("GET", path, {"x-user": "ada"}))
	}
}

test_a_foreign_tenant_is_forbidden_and_named if {
	answer := decision("GET", "/t/globex/bills", {"x-user": "ada"})
	refused(403, "foreign_tenant", answer)
	json.unmarshal(answer.body).tenant == "globex"
	answer.headers["content-type"] == "application/json"
}

test_a_user_is_needed_before_anything_is_told if {
	every path in ["/t/acme", "/t/initech"] {
		refused(401, "unauthenticated", decision("GET", path, {}))
		refused(401, "unauthenticated", decision("GET", path, {"x-user": ""}))
	}
}

test_nothing_is_allowed_without_input if {
	not authz.decision.allowed with input as {} with data.tenant_directory as directory
}

test_nothing_is_allowed_without_a_directory if {
	answer := authz.decision with input as request("GET", "/t/acme", {"x-user": "ada"})
		with data.tenant_directory as {}
	refused(404, "unknown_tenant", answer)
}

# === hostile ===

test_a_path_with_two_readings_is_a_bad_request if {
	every path in [
		"/t/acme/../globex/bills", "/t/acme/%2e%2e/globex", "/t/acme/..%2fglobex", "/t/acme%2f..%2fglobex",
		"//t/acme", "/t//acme", "/t//globex", "/t/acme/", "/t/acme//bills", "/t/./acme", "/t%2Facme", "/%74/acme",
		"/t/%61cme", "/t/acme;x=/../globex", `/t/acme\..\globex`, "/t/acme/%5c..", "/t/acme%00", "/t/acme/.git",
		"/t/", "//", "t/acme", "*", "/t/globex#/acme",
	] {
		refused(400, "ambiguous_path", decision("GET", path, {"x-user": "ada"}))
	}
}

test_tenant_names_keep_their_case if {
	refused(404, "unknown_tenant", decision("GET", "/t/ACME", {"x-user": "ada"}))
	refused(404, "unknown_tenant", decision("GET", "/T/acme", {"x-user": "ada"}))
}

test_a_tenant_is_one_whole_segment if {
	refused(404, "unknown_tenant", decision("GET", "/t/acme-test/bills", {"x-user": "ada"}))
	refused(404, "unknown_tenant", decision("GET", "/t/acm", {"x-user": "ada"}))
}

test_the_query_takes_no_part if {
	refused(403, "foreign_tenant", decision("GET", "/t/globex?/t/acme", {"x-user": "ada"}))
	decision("GET", "/t/acme?next=/t/globex/../x", {"x-user": "ada"}).allowed
}

test_a_second_user_header_makes_nobody if {
	refused(403, "foreign_tenant", decision("GET", "/t/acme", {"x-user": "ada,grace"}))
	refused(403, "foreign_tenant", decision("GET", "/t/globex", {"x-user": "ada,grace"}))
}

test_a_tenant_header_opens_nothing if {
	refused(403, "foreign_tenant", decision("GET", "/t/globex", {"x-user": "ada", "x-tenant": "acme"}))
}

# === the answer, asked for ===

decision(method, path, headers) := answer if {
	answer := authz.decision with input as request(method, path, headers) with data.tenant_directory as directory
}

refused(status, error, answer) if {
	answer.allowed == false
	answer.http_status == status
	json.unmarshal(answer.body).error == error
}

directory := {
	"acme": {"plan": "gold", "members": ["ada", "bob"]},
	"globex": {"plan": "basic", "members": ["grace"]},
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
