# The shop's gate: some pages are for everyone, the rest is by role.
#
# Decision: `shop/authz/allow`, a boolean.
# Data: the bundle `roles` says who has which role (`data.roles.members`) and what a role may do (`data.roles.grants`),
# so that people join and leave without a change to this policy.
#
# Assumption: an authenticating proxy in front of this one sets `x-user` and removes any copy that the client sent.
# Without it anybody can write anybody's name there, and no policy can tell.
package shop.authz

default allow := false

allow if {
	one_reading
	public
}

allow if {
	one_reading
	granted
}

allow if {
	one_reading
	own
}

http := input.attributes.request.http

path := concat("/", input.parsed_path)

# A header that is sent twice arrives here as one value, joined with a comma. `ada,grace` is then the name of nobody, so
# a second `x-user` takes rights away and never adds any.
user := http.headers["x-user"]

# === who may do what ===

public if {
	http.method in {"GET", "HEAD"}
	some pattern in ["", "products", "products/*", "assets/**"]
	glob.match(pattern, ["/"], path)
}

granted if {
	some role in data.roles.members[user]
	some grant in data.roles.grants[role]
	http.method in grant.methods
	glob.match(grant.path, ["/"], path)
}

# Everybody with a role may read and change their own customer record, and what lies below it. (An empty list of roles is
# a value like any other and would pass as a condition, so the rule asks for a member of it.)
own if {
	some _ in data.roles.members[user]
	http.method in {"GET", "PUT"}
	array.slice(input.parsed_path, 0, 2) == ["customers", user]
}

# === requests that can be read in two ways are refused ===

# The decision is about the path as it is read here. It is worth something only if the service behind reads the same
# path, so a path must be written in the one form that everybody reads alike.
one_reading if {
	plain_path
	not steered
}

plain_path if raw_path == "/"

# `parsed_path` is decoded and has lost its leading slashes, so the comparison refuses `//admin`, `%2F`, `%2e%2e` and
# every other escape. The pattern refuses what is left: empty segments (`a//b`, `a/`), dot segments, dot files,
# backslashes, `;` parameters, control characters. Letters keep their case: `/Orders` is not `/orders`.
plain_path if {
	raw_path == concat("", ["/", path])
	every segment in input.parsed_path {
		regex.match(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$`, segment)
	}
}

raw_path := split(http.path, "?")[0]

# Some web frameworks let these headers replace the method or the path that was decided on.
steered if {
	some name, _ in http.headers
	name in {"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"}
}
