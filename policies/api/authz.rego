# The gate of an API with a contract: a request names the version it speaks and who sends it, and a write is JSON.
#
# Decision: `api/authz/decision`, an object in the form of opa-envoy-plugin.
# Data: `data.api_versions` of this bundle lists the supported versions; one that has a `sunset` is answered with that
# date in the `sunset` header (RFC 8594).
#
# A refused request learns everything that is wrong with it at once: `{"errors":["missing header x-api-version", ...]}`.
# The status is 415 if the content type is the only fault, else 400.
package api.authz

default decision := {"allowed": false}

decision := {"allowed": true} if {
	probe
} else := {
	"allowed": true,
	"response_headers_to_add": {"sunset": date | date := data.api_versions[version].sunset},
} if {
	count(errors) == 0
} else := {
	"allowed": false,
	"http_status": status,
	"headers": {"content-type": "application/json"},
	"body": json.marshal({"errors": errors}),
}

http := input.attributes.request.http

version := http.headers["x-api-version"]

# The one path that needs no headers. `//healthz` and `/%68ealthz` have the same `parsed_path`, but a service may see
# another path in them: only the plain form counts.
probe if {
	http.method in {"GET", "HEAD"}
	plain_path
	input.parsed_path == ["healthz"]
}

# === the contract ===

errors contains sprintf("missing header %s", [name]) if {
	some name in ["x-api-version", "x-request-source"]
	not http.headers[name]
}

# A header that is sent twice arrives as one value, joined with a comma. `2025-06,2026-03` is no version, so a client
# cannot show one version to this policy and another to the service.
errors contains "unsupported x-api-version" if {
	version
	not data.api_versions[version]
}

errors contains "malformed x-request-source" if {
	source := http.headers["x-request-source"]
	not regex.match(`^[a-z][a-z0-9-]{0,63}$`, source)
}

errors contains media_error if media_error

# Every service must read the path as it is read here: no escapes, no empty or dot segments, no leading `//`, no
# trailing `/`.
errors contains "ambiguous path" if not plain_path

status := 415 if {
	errors == {media_error}
} else := 400

# The methods that need no content type are listed, and not those that do: a method that nobody thought of needs one.
media_error := "missing header content-type" if {
	not http.method in {"GET", "HEAD", "OPTIONS", "DELETE"}
	not http.headers["content-type"]
} else := "content-type is not application/json" if {
	not http.method in {"GET", "HEAD", "OPTIONS", "DELETE"}
	not json_content
}

# Media types have no case and may carry parameters. A comma means two headers, of which a service picks one.
json_content if regex.match(`^application/json[ \t]*(;[^,]*)?$`, lower(http.headers["content-type"]))

raw_path := split(http.path, "?")[0]

plain_path if raw_path == "/"

plain_path if {
	raw_path == concat("/", array.concat([""], input.parsed_path))
	every segment in input.parsed_path {
		regex.match(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$`, segment)
	}
}
