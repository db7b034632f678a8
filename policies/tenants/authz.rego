# The gate of a service that many tenants share: `/t/<tenant>/...` is open to the members of that tenant only.
#
# Decision: `tenants/authz/decision`, an object in the form of opa-envoy-plugin.
# Data: `data.tenant_directory` of this bundle names the tenants and their members.
#
# An allowed request reaches the service with `x-tenant` and `x-tenant-plan`, which replace whatever the client sent,
# and without `x-internal-role`, which only services may send to each other.
#
# | request                      | answer                                                       |
# |------------------------------|--------------------------------------------------------------|
# | path with more than one form | 400 `ambiguous_path`                                         |
# | no `x-user`                  | 401 `unauthenticated`                                        |
# | no such tenant, or no `/t/`  | 404 `unknown_tenant`                                         |
# | another tenant's path        | 403 `foreign_tenant` (use 404 here if tenant names are secret) |
#
# Assumption: an authenticating proxy in front of this one sets `x-user` and removes any copy that the client sent.
package tenants.authz

default decision := {"allowed": false}

decision := refusal(400, {"error": "ambiguous_path"}) if {
	not plain_path
} else := refusal(401, {"error": "unauthenticated"}) if {
	not user
} else := refusal(404, {"error": "unknown_tenant"}) if {
	not tenant
} else := admission if {
	user in directory[tenant].members
} else := refusal(403, {"error": "foreign_tenant", "tenant": tenant})

admission := {
	"allowed": true,
	"headers": {"x-tenant": tenant, "x-tenant-plan": directory[tenant].plan},
	"request_headers_to_remove": ["x-internal-role"],
	# A shared cache must not give one user's answer to another.
	"response_headers_to_add": {"vary": "x-user"},
}

refusal(status, body) := {
	"allowed": false,
	"http_status": status,
	"headers": {"content-type": "application/json"},
	"body": json.marshal(body),
}

directory := data.tenant_directory

http := input.attributes.request.http

# Sent twice, the header arrives as `ada,bob`: one name that nobody has.
user := http.headers["x-user"] if http.headers["x-user"] != ""

tenant := input.parsed_path[1] if {
	input.parsed_path[0] == "t"
	directory[input.parsed_path[1]]
}

# `/t/acme/../globex/bills` starts with `acme` here and ends in `globex` in a service that resolves dot segments, so a
# path must be written in the one form that everybody reads alike. `parsed_path` is decoded and has lost its leading
# slashes: the comparison refuses `//t/acme` and every `%` escape, the pattern refuses empty and dot segments, a
# trailing slash, backslashes and `;` parameters. Names keep their case: `ACME` is no tenant.
plain_path if raw_path == "/"

plain_path if {
	raw_path == concat("/", array.concat([""], input.parsed_path))
	every segment in input.parsed_path {
		regex.match(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$`, segment)
	}
}

raw_path := split(http.path, "?")[0]
