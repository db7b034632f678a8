package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
	"github.com/open-policy-agent/opa/v1/util"
)

// captured is the variable that holds the value of a query that is one term.
const captured = "oracle_result"

func serve(req *request) (a answer) {
	a.ID = req.ID
	defer func() {
		if p := recover(); p != nil {
			a.Results = append(a.Results, result{Panic: fmt.Sprint(p)})
		}
	}()
	if req.Builtin != "" {
		req.Calls = append(req.Calls, call{req.Builtin, req.Args})
	}
	if req.Query != "" {
		req.Cases = append(req.Cases, evalCase{Query: req.Query, Input: req.Input})
	}
	for _, c := range req.Calls {
		a.Results = append(a.Results, callBuiltin(req, c))
	}
	if len(req.Modules) == 0 && len(req.Cases) == 0 {
		return a
	}
	return evaluate(req, a)
}

func now(req *request) time.Time {
	if req.NowNs != 0 {
		return time.Unix(0, req.NowNs)
	}
	return time.Now()
}

func callBuiltin(req *request, c call) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = result{Panic: fmt.Sprint(p)}
		}
	}()
	f := topdown.GetBuiltin(c.Builtin)
	if f == nil {
		return result{Error: "no_such_builtin"}
	}
	var args []*ast.Term
	for _, text := range c.Args {
		t, err := parseTerm(text)
		if err != nil {
			return result{Error: "bad_argument", Message: err.Error()}
		}
		args = append(args, t)
	}
	stop := topdown.NewCancel()
	timer := time.AfterFunc(200*time.Millisecond, stop.Cancel)
	defer timer.Stop()
	// Nothing is asked of a network: not for schemas that others refer to either.
	capabilities := ast.CapabilitiesForThisVersion()
	capabilities.AllowNet = []string{}
	ctx := topdown.BuiltinContext{
		Context:      context.Background(),
		Metrics:      metrics.NoOp(),
		Time:         ast.NumberTerm(json.Number(fmt.Sprint(now(req).UnixNano()))),
		Cancel:       stop,
		Cache:        builtins.Cache{},
		Location:     ast.NewLocation(nil, "", 1, 1),
		QueryID:      1,
		ParentID:     1,
		Capabilities: capabilities,
	}
	var values []string
	err := f(ctx, args, func(t *ast.Term) error {
		values = append(values, termText(t.Value))
		return nil
	})
	switch {
	case err != nil:
		var halt topdown.Halt
		if errors.As(err, &halt) {
			return result{Error: "halt", Message: err.Error()}
		}
		return result{Undefined: true, Message: err.Error()}
	case len(values) == 0:
		return result{Undefined: true}
	case len(values) == 1:
		return result{Value: values[0]}
	}
	return result{Values: values}
}

// failure is what ended a query.
func failure(err error) result {
	if e, ok := errors.AsType[*topdown.Error](err); ok {
		return result{Error: e.Code, Message: e.Message}
	}
	return result{Error: "other", Message: err.Error()}
}

func evaluate(req *request, a answer) answer {
	ctx := context.Background()
	version := ast.RegoV1
	if req.V0 {
		version = ast.RegoV0
	}
	opts := ast.ParserOptions{RegoVersion: version, ProcessAnnotation: true}

	data := map[string]any{}
	if len(req.Data) > 0 {
		if err := util.UnmarshalJSON(req.Data, &data); err != nil {
			a.Bad = "data: " + err.Error()
			return a
		}
	}
	store := inmem.NewFromObject(data)
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		a.Bad = err.Error()
		return a
	}
	defer store.Abort(ctx, txn)

	parsed := map[string]*ast.Module{}
	names := util.KeysSorted(req.Modules)
	for _, name := range names {
		m, err := ast.ParseModuleWithOpts(name, req.Modules[name], opts)
		if err != nil {
			a.Compile = append(a.Compile, compileErrors(err)...)
			continue
		}
		if m != nil {
			parsed[name] = m
		}
	}
	if len(a.Compile) > 0 {
		return a
	}
	print := req.Print == nil || *req.Print
	compiler := ast.NewCompiler().
		WithDefaultRegoVersion(version).
		WithEnablePrintStatements(print).
		WithStrict(req.Strict).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn))
	compiler.Compile(parsed)
	if compiler.Failed() {
		a.Compile = compileErrors(compiler.Errors)
		return a
	}
	for _, c := range req.Cases {
		a.Results = append(a.Results, runCase(ctx, req, compiler, opts, store, txn, c))
	}
	if a.Results == nil {
		a.Results = []result{}
	}
	return a
}

func compileErrors(err error) (out []compileError) {
	var list ast.Errors
	if !errors.As(err, &list) {
		return []compileError{{Code: "other", Message: err.Error()}}
	}
	for _, e := range list {
		c := compileError{Code: e.Code, Message: e.Message}
		if e.Location != nil {
			c.Place = fmt.Sprintf("%s:%d:%d", e.Location.File, e.Location.Row, e.Location.Col)
		}
		out = append(out, c)
	}
	return out
}

func runCase(ctx context.Context, req *request, compiler *ast.Compiler, opts ast.ParserOptions, store storage.Store, txn storage.Transaction, c evalCase) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = result{Panic: fmt.Sprint(p)}
		}
	}()
	var input *ast.Term
	switch {
	case c.InputTerm != "":
		t, err := parseTerm(c.InputTerm)
		if err != nil {
			return result{Error: "bad_input", Message: err.Error()}
		}
		input = t
	case len(bytes.TrimSpace(c.Input)) > 0:
		var x any
		if err := util.UnmarshalJSON(c.Input, &x); err != nil {
			return result{Error: "bad_input", Message: err.Error()}
		}
		v, err := ast.InterfaceToValue(x)
		if err != nil {
			return result{Error: "bad_input", Message: err.Error()}
		}
		input = ast.NewTerm(v)
	}
	body, err := ast.ParseBodyWithOpts(c.Query, opts)
	if err != nil {
		return result{Error: "query_parse", Message: err.Error()}
	}
	single := false
	if len(body) == 1 {
		if t, ok := body[0].Terms.(*ast.Term); ok && len(body[0].With) == 0 && !body[0].Negated {
			body = ast.NewBody(ast.Equality.Expr(ast.VarTerm(captured), t))
			single = true
		}
	}
	qc := compiler.QueryCompiler().WithEnablePrintStatements(req.Print == nil || *req.Print)
	compiled, err := qc.Compile(body)
	if err != nil {
		e := compileErrors(err)
		return result{Error: "query_" + e[0].Code, Message: e[0].Message}
	}
	stop := topdown.NewCancel()
	timer := time.AfterFunc(time.Second, stop.Cancel)
	defer timer.Stop()
	q := topdown.NewQuery(compiled).
		WithQueryCompiler(qc).
		WithCompiler(compiler).
		WithStore(store).
		WithTransaction(txn).
		WithCancel(stop).
		WithTime(now(req)).
		WithInput(input)
	if req.Indexing != nil {
		q = q.WithIndexing(*req.Indexing)
	}
	all, err := q.Run(ctx)
	if err != nil {
		r := failure(err)
		if r.Error == topdown.CancelErr {
			return result{Timeout: true}
		}
		return r
	}
	if len(all) == 0 {
		return result{Undefined: true}
	}
	if single {
		if len(all) == 1 {
			return result{Value: termText(all[0][captured].Value)}
		}
		for _, qr := range all {
			r.Values = append(r.Values, termText(qr[captured].Value))
		}
		return r
	}
	for _, qr := range all {
		vars := make([]string, 0, len(qr))
		for k, v := range qr {
			if k.IsGenerated() || k.IsWildcard() {
				continue
			}
			vars = append(vars, fmt.Sprintf("%s = %s", k, termText(v.Value)))
		}
		sort.Strings(vars)
		r.Values = append(r.Values, strings.Join(vars, "; "))
	}
	return r
}
