package resolve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Chain is resolvers that are asked in turn.
type Chain struct {
	resolvers []*Resolver
	log       io.Writer
}

// Entry is a line of the log of questions and answers.
type Entry struct {
	Question
	Resolver string  `json:"resolver"`
	Answer   *Answer `json:"answer,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// StartAll starts resolvers: see [Start]. Each question that one of them is asked is a line of the log, an [Entry]
// in JSON; nil for none.
func StartAll(ctx context.Context, specs []string, timeout time.Duration, log io.Writer) (*Chain, error) {
	c := &Chain{log: log}
	for _, spec := range specs {
		r, err := Start(ctx, spec, timeout)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.resolvers = append(c.resolvers, r)
	}
	return c, nil
}

// Ask asks one resolver after another until one does not leave the question to the next. It returns whose
// answer that is; nil for none, and where the answer is no.
func (c *Chain) Ask(ctx context.Context, q Question) (*Answer, *Resolver, error) {
	for _, r := range c.resolvers {
		a, err := r.Ask(ctx, q)
		if logged := c.write(q, r, a, err); logged != nil {
			return nil, nil, errors.Join(err, logged)
		}
		switch {
		case err != nil:
			return nil, nil, err
		case a.Next:
			continue
		case a.No:
			return nil, nil, nil
		}
		return a, r, nil
	}
	return nil, nil, nil
}

func (c *Chain) write(q Question, r *Resolver, a *Answer, err error) error {
	if c.log == nil {
		return nil
	}
	e := Entry{Question: q, Resolver: r.Name(), Answer: a}
	if err != nil {
		e.Error = err.Error()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := c.log.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the log of resolvers: %w", err)
	}
	return nil
}

// Close ends all resolvers.
func (c *Chain) Close() error {
	var errs []error
	for _, r := range c.resolvers {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
