// A search over all pages. Without JavaScript the site has the navigation only.
"use strict";
{
	const top = document.currentScript.dataset.top;
	const box = document.createElement("form");
	box.className = "search";
	box.setAttribute("role", "search");
	box.innerHTML = '<input type="search" placeholder="Search" aria-label="Search the documentation"><p></p><ol aria-label="Pages found"></ol>';
	document.querySelector("header").append(box);
	const [input, said, list] = box.children;
	said.setAttribute("role", "status");

	let loading;
	const load = () => loading ??= new Promise((resolve, reject) => {
		const script = document.createElement("script");
		script.src = top + "search-index.js";
		script.onload = resolve;
		script.onerror = reject;
		document.head.append(script);
	});

	// score says how well a page fits words that it has all of; 0 when it does not.
	const score = (page, words) => {
		let sum = 0;
		for (const word of words) {
			if (page.title.toLowerCase().includes(word)) sum += 20;
			const times = page.text.toLowerCase().split(word).length - 1;
			if (times === 0 && !page.title.toLowerCase().includes(word)) return 0;
			sum += Math.min(times, 10);
		}
		return sum;
	};

	const show = async () => {
		const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
		list.replaceChildren();
		said.textContent = "";
		if (words.length === 0) return;
		await load();
		const found = searchIndex.map(page => [score(page, words), page]).filter(([n]) => n > 0)
			.sort(([a], [b]) => b - a).slice(0, 15);
		list.replaceChildren(...found.map(([, page]) => {
			const item = document.createElement("li");
			const link = document.createElement("a");
			link.href = top + page.path;
			link.textContent = page.title;
			const at = Math.max(0, page.text.toLowerCase().indexOf(words[0]) - 50);
			const part = document.createElement("span");
			part.textContent = page.text.slice(at, at + 140);
			item.append(link, part);
			return item;
		}));
		if (found.length === 0) {
			const none = document.createElement("li");
			none.textContent = "Nothing found";
			list.append(none);
		}
		said.textContent = "Pages found: " + found.length;
	};

	input.addEventListener("input", show);
	box.addEventListener("submit", event => {
		event.preventDefault();
		list.querySelector("a")?.click();
	});
	box.addEventListener("keydown", event => {
		if (event.key === "Escape") {
			input.value = "";
			show();
		}
	});
}
