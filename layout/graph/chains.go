package graph

// Chains returns the ways on which roots lead to target, the shortest first, each from its
// root to the target and through nothing twice. users has who leads to a node. None but
// the target itself is a root on the way to another one: who is kept by a root that is
// kept anyway is not kept by what keeps that.
//
// At most limit ways are returned, and more says how many others there are. In a graph
// with very many ways they are not all counted: complete is false then, and there are
// more than that.
func Chains(target string, users func(string) []string, isRoot func(string) bool, limit int) (chains [][]string, more int, complete bool) {
	rooted := rootedUsers(target, users, isRoot)
	if !rooted[target] {
		return nil, 0, true
	}
	type way struct {
		node string
		next *way // towards the target
	}
	todo := []*way{{node: target}}
	for at := 0; at < len(todo); at++ {
		if at == maxWays {
			return chains, more, false
		}
		w := todo[at]
		todo[at] = nil
		if isRoot(w.node) {
			if len(chains) == limit {
				more++
			} else {
				var chain []string
				for s := w; s != nil; s = s.next {
					chain = append(chain, s.node)
				}
				chains = append(chains, chain)
			}
			if w.node != target {
				continue
			}
		}
		for _, user := range users(w.node) {
			again := false
			for s := w; s != nil && !again; s = s.next {
				again = s.node == user
			}
			if !again && rooted[user] {
				todo = append(todo, &way{user, w})
			}
		}
	}
	return chains, more, true
}

// maxWays is how many beginnings of ways are looked at.
const maxWays = 50_000

// rootedUsers returns which of those that lead to target, by whatever way, a root leads
// to, or are roots.
func rootedUsers(target string, users func(string) []string, isRoot func(string) bool) map[string]bool {
	seen := map[string]bool{target: true}
	leads := map[string][]string{}
	var roots []string
	for todo := []string{target}; len(todo) > 0; {
		node := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if isRoot(node) {
			roots = append(roots, node)
			if node != target {
				continue
			}
		}
		for _, user := range users(node) {
			leads[user] = append(leads[user], node)
			if !seen[user] {
				seen[user] = true
				todo = append(todo, user)
			}
		}
	}
	return Reachable(roots, leads)
}

// Below returns what the nodes lead to, themselves too, breadth first, each once.
func Below(nodes []string, leads func(string) []string) []string {
	var order []string
	seen := map[string]bool{}
	add := func(n string) {
		if !seen[n] {
			seen[n] = true
			order = append(order, n)
		}
	}
	for _, n := range nodes {
		add(n)
	}
	for at := 0; at < len(order); at++ {
		for _, n := range leads(order[at]) {
			add(n)
		}
	}
	return order
}
