package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The text form of a term, lossless in both directions: as Rego prints it, but
// every byte of a string that is not UTF-8 is written as \xHH, and numbers keep
// the text they have.

func writeTerm(b *strings.Builder, v ast.Value) {
	switch v := v.(type) {
	case ast.Null:
		b.WriteString("null")
	case ast.Boolean:
		b.WriteString(strconv.FormatBool(bool(v)))
	case ast.Number:
		b.WriteString(string(v))
	case ast.String:
		writeString(b, string(v))
	case *ast.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(", ")
			}
			writeTerm(b, v.Elem(i).Value)
		}
		b.WriteByte(']')
	case ast.Object:
		b.WriteByte('{')
		first := true
		v.Foreach(func(k, e *ast.Term) {
			if !first {
				b.WriteString(", ")
			}
			first = false
			writeTerm(b, k.Value)
			b.WriteString(": ")
			writeTerm(b, e.Value)
		})
		b.WriteByte('}')
	case ast.Set:
		if v.Len() == 0 {
			b.WriteString("set()")
			return
		}
		b.WriteByte('{')
		for i, e := range v.Slice() {
			if i > 0 {
				b.WriteString(", ")
			}
			writeTerm(b, e.Value)
		}
		b.WriteByte('}')
	default:
		fmt.Fprintf(b, "<%T %v>", v, v)
	}
}

func writeString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(b, `\x%02x`, s[i])
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteByte(s[i])
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	b.WriteByte('"')
}

func termText(v ast.Value) string {
	var b strings.Builder
	writeTerm(&b, v)
	return b.String()
}

type termParser struct {
	s string
	i int
}

func parseTerm(s string) (*ast.Term, error) {
	p := &termParser{s: s}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i != len(p.s) {
		return nil, fmt.Errorf("text after the term at byte %d", p.i)
	}
	return v, nil
}

func (p *termParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *termParser) eat(text string) bool {
	p.space()
	if strings.HasPrefix(p.s[p.i:], text) {
		p.i += len(text)
		return true
	}
	return false
}

func (p *termParser) value() (*ast.Term, error) {
	p.space()
	if p.i >= len(p.s) {
		return nil, errors.New("term ends early")
	}
	switch c := p.s[p.i]; {
	case p.eat("null"):
		return ast.NullTerm(), nil
	case p.eat("true"):
		return ast.BooleanTerm(true), nil
	case p.eat("false"):
		return ast.BooleanTerm(false), nil
	case p.eat("set()"):
		return ast.SetTerm(), nil
	case c == '"':
		s, err := p.text()
		return ast.StringTerm(s), err
	case p.eat("["):
		var terms []*ast.Term
		for first := true; ; first = false {
			if p.eat("]") {
				return ast.ArrayTerm(terms...), nil
			}
			if !first && !p.eat(",") {
				return nil, fmt.Errorf("no comma at byte %d", p.i)
			}
			t, err := p.value()
			if err != nil {
				return nil, err
			}
			terms = append(terms, t)
		}
	case p.eat("{"):
		if p.eat("}") {
			return ast.ObjectTerm(), nil
		}
		first, err := p.value()
		if err != nil {
			return nil, err
		}
		if p.eat(":") {
			obj := ast.NewObject()
			for k := first; ; {
				v, err := p.value()
				if err != nil {
					return nil, err
				}
				obj.Insert(k, v)
				if p.eat("}") {
					return ast.NewTerm(obj), nil
				}
				if !p.eat(",") {
					return nil, fmt.Errorf("no comma at byte %d", p.i)
				}
				if k, err = p.value(); err != nil {
					return nil, err
				}
				if !p.eat(":") {
					return nil, fmt.Errorf("no colon at byte %d", p.i)
				}
			}
		}
		set := ast.NewSet(first)
		for {
			if p.eat("}") {
				return ast.NewTerm(set), nil
			}
			if !p.eat(",") {
				return nil, fmt.Errorf("no comma at byte %d", p.i)
			}
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			set.Add(v)
		}
	}
	end := p.i
	for end < len(p.s) && strings.IndexByte(" \t\r\n,]}:", p.s[end]) < 0 {
		end++
	}
	n := p.s[p.i:end]
	if n == "" || strings.IndexByte("-+.0123456789", n[0]) < 0 {
		return nil, fmt.Errorf("no term at byte %d", p.i)
	}
	p.i = end
	return ast.NumberTerm(json.Number(n)), nil
}

func (p *termParser) text() (string, error) {
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		if c == '"' {
			p.i++
			return b.String(), nil
		}
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if p.i++; p.i >= len(p.s) {
			break
		}
		digits := 0
		switch p.s[p.i] {
		case '"', '\\', '/':
			b.WriteByte(p.s[p.i])
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'x':
			digits = 2
		case 'u':
			digits = 4
		default:
			return "", fmt.Errorf("bad escape at byte %d", p.i)
		}
		if digits == 0 {
			continue
		}
		if p.i+digits >= len(p.s) {
			break
		}
		n, err := strconv.ParseUint(p.s[p.i+1:p.i+1+digits], 16, 32)
		if err != nil {
			return "", err
		}
		p.i += digits
		if digits == 2 {
			b.WriteByte(byte(n))
		} else {
			b.WriteRune(rune(n))
		}
	}
	return "", errors.New("string ends early")
}
