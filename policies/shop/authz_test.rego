# What the shop's gate answers, with a few roles of the test's own.
package shop.authz_test

import data.shop.authz

# === allowed ===

test_anybody_sees_the_public_pages if {
	every path in ["/", "/products", "/products/12", "/products/12?sort=price", "/assets/css/site.css"] {
		allowed("GET", path, {})
		allowed("HEAD", path, {})
	}
}

test_a_role_allows_what_is_granted_to_it if {
	allowed("GET", "/orders", {"x-user": "ada"})
	allowed("POST", "/orders", {"x-user": "ada"})
	allowed("GET", "/orders/7", {"x-user": "ada"})
	allowed("PUT", "/orders/7/status", {"x-user": "bob"})
	allowed("GET", "/reports/sales", {"x-user": "grace"})
}

test_two_roles_add_up if {
	allowed("POST", "/orders", {"x-user": "carol"})
	allowed("PUT", "/orders/7/status", {"x-user": "carol"})
}

test_own_customer_record_is_readable if {
	allowed("GET", "/customers/ada", {"x-user": "ada"})
	allowed("PUT", "/customers/ada/address", {"x-user": "ada"})
}

test_the_query_takes_no_part if {
	allowed("GET", "/products?next=/orders/../admin", {})
	denied("GET", "/admin?/products", {})
}

# === denied ===

test_nothing_is_allowed_by_default if {
	not authz.allow with input as {} with data.roles as roles
	denied("GET", "/admin", {"x-user": "grace"})
	denied("PROPFIND", "/products", {"x-user": "grace"})
}

test_without_a_user_only_public_pages_are_open if {
	denied("GET", "/orders", {})
	denied("GET", "/orders", {"x-user": ""})
	denied("POST", "/products", {})
}

test_a_user_without_roles_may_do_nothing if {
	denied("GET", "/orders", {"x-user": "mallory"})
	denied("GET", "/customers/mallory", {"x-user": "mallory"})
	denied("GET", "/customers/nobody", {"x-user": "nobody"})
}

test_a_role_allows_nothing_else if {
	denied("DELETE", "/orders/7", {"x-user": "ada"})
	denied("PUT", "/orders/7/status", {"x-user": "ada"})
	denied("GET", "/reports/salaries", {"x-user": "grace"})
}

test_one_star_is_one_segment if {
	denied("GET", "/orders/7/items", {"x-user": "ada"})
	denied("GET", "/products/12/costs", {})
}

test_the_record_of_another_customer_is_closed if {
	denied("GET", "/customers/grace", {"x-user": "ada"})
	denied("GET", "/customers", {"x-user": "ada"})
	denied("DELETE", "/customers/ada", {"x-user": "ada"})
}

test_without_the_roles_bundle_only_public_pages_are_open if {
	authz.allow with input as request("GET", "/products", {}) with data.roles as {}
	not authz.allow with input as request("GET", "/orders", {"x-user": "ada"}) with data.roles as {}
}

# === hostile ===

test_a_second_user_header_makes_nobody if {
	denied("GET", "/orders", {"x-user": "ada,grace"})
	denied("GET", "/orders", {"x-user": "ada,ada"})
	denied("GET", "/customers/ada,grace", {"x-user": "ada,grace"})
}

test_a_user_is_not_a_pattern if {
	denied("GET", "/orders", {"x-user": "*"})
	denied("GET", "/customers/*", {"x-user": "*"})
}

test_a_path_with_two_readings_is_denied if {
	every path in [
		"//orders", "///orders", "/orders/", "/orders//7", "/orders/7/", "/./orders", "/orders/./7",
		"/products/../orders", "/products/..", "/orders/..", "/products/%2e%2e/orders", "/products/%2E%2E%2Forders",
		"/orders%2F7", "/orders%2f7", "/%6frders", "/orders/7%00", "/orders/7;v=1", `/orders\7`, "/orders/%5c7",
		"/orders/7#x", "/orders/.hidden", "/orders/7%20", "/orders/+", "orders", "*", "",
	] {
		denied("GET", path, {"x-user": "carol"})
	}
}

test_an_own_record_is_no_way_to_another if {
	every path in ["/customers/ada/../grace", "/customers/ada/%2e%2e/grace", "//customers/ada", "/customers/ada/"] {
		denied("GET", path, {"x-user": "ada"})
	}
}

test_a_public_path_is_no_way_round if {
	every path in [
		"/products/../admin", "/products/%2e%2e/admin", "//products", "/products//", "/assets/../admin",
		"/assets//admin", "/assets/css/..%2f..%2fadmin", "/assets/", "//", "/.", "/..", "/%2F",
	] {
		denied("GET", path, {})
	}
}

test_case_matters_in_paths_methods_and_names if {
	denied("GET", "/Orders", {"x-user": "ada"})
	denied("GET", "/ORDERS/7", {"x-user": "ada"})
	denied("get", "/orders", {"x-user": "ada"})
	denied("GET", "/orders", {"x-user": "Ada"})
}

test_headers_that_rewrite_the_request_are_refused if {
	every name in ["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"] {
		denied("GET", "/orders", {"x-user": "ada", name: "/admin"})
		denied("GET", "/products", {name: ""})
	}
}

# === the answer, asked for ===

allowed(method, path, headers) if {
	authz.allow == true with input as request(method, path, headers) with data.roles as roles
}

denied(method, path, headers) if {
	authz.allow == false with input as request(method, path, headers) with data.roles as roles
}

roles := {
	"members": {
		"ada": ["buyer"],
		"bob": ["clerk"],
		"carol": ["buyer", "clerk"],
		"grace": ["manager"],
		"mallory": [],
	},
	"grants": {
		"buyer": [
			{"methods": ["GET", "POST"], "path": "orders"},
			{"methods": ["GET"], "path": "orders/*"},
		],
		"clerk": [
			{"methods": ["GET"], "path": "orders/**"},
			{"methods": ["PUT"], "path": "orders/*/status"},
		],
		"manager": [{"methods": ["GET"], "path": "reports/{sales,stock}"}],
	},
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
