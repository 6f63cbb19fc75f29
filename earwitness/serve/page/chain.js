// A chain of reasoning that grows, and the claims in it, each of which can be chosen.

export const SIGNS = { verified: "\u2713", refuted: "\u2717", uncheckable: "?" };
const WORST_FIRST = ["refuted", "uncheckable", "verified"];

export class Chain {
  #element;
  #onChoose;
  #letters = []; // whole characters, as the server counts them
  #tail; // what no verdict has reached yet
  #done = 0;

  /** `onChoose(group)` where a group is {text, outcome, claims, stretches}. */
  constructor(element, onChoose) {
    this.#element = element;
    this.#onChoose = onChoose;
    this.clear();
  }

  get text() {
    return this.#letters.join("");
  }

  clear() {
    this.#letters = [];
    this.#done = 0;
    this.#tail = document.createTextNode("");
    this.#element.replaceChildren(this.#tail);
    this.tally = { verified: 0, refuted: 0, uncheckable: 0 };
  }

  append(text) {
    this.#letters.push(...text);
    this.#tail.data += text;
  }

  /** Mark the claims up to a position; what is marked already stays as it is, with its focus. */
  mark(position, claims) {
    const fresh = claims.filter((claim) => claim.start >= this.#done);
    for (const claim of fresh) this.tally[claim.outcome]++;
    for (const group of groups(fresh)) {
      this.#write(this.#done, group.start);
      this.#element.insertBefore(this.#button(group), this.#tail);
      this.#done = group.end;
    }
    this.#write(this.#done, Math.max(position, this.#done));
    this.#tail.data = this.#letters.slice(this.#done).join("");
  }

  #write(start, end) {
    if (end > start) this.#tail.before(this.#letters.slice(start, end).join(""));
    this.#done = end;
  }

  #button(group) {
    group.text = this.#letters.slice(group.start, group.end).join("");
    const mark = document.createElement("mark");
    mark.className = group.outcome;
    mark.textContent = group.text;
    mark.tabIndex = 0;
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-pressed", "false");
    mark.setAttribute("aria-label", `${group.text}: ${group.claims.map((c) => `${c.outcome}, ${c.reason}`).join("; ")}`);
    const sign = document.createElement("span");
    sign.className = "sign";
    sign.textContent = `\u202f${SIGNS[group.outcome]}`; // no line breaks there
    mark.append(sign);
    const choose = () => {
      for (const other of this.#element.querySelectorAll("mark")) other.setAttribute("aria-pressed", other === mark);
      this.#onChoose(group);
    };
    mark.addEventListener("click", choose);
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    return mark;
  }
}

/** Join claims that overlap: together they are one thing to choose, with the worst of their outcomes. */
function groups(claims) {
  const out = [];
  for (const claim of claims.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    const last = out.at(-1);
    if (last && claim.start < last.end) {
      last.claims.push(claim);
      last.end = Math.max(last.end, claim.end);
    } else {
      out.push({ start: claim.start, end: claim.end, claims: [claim] });
    }
  }
  for (const group of out) {
    group.outcome = WORST_FIRST.find((outcome) => group.claims.some((claim) => claim.outcome === outcome));
    group.stretches = joined(group.claims.flatMap((claim) => claim.stretches));
  }
  return out;
}

function joined(stretches) {
  const out = [];
  for (const [start, end] of stretches.toSorted((a, b) => a[0] - b[0])) {
    if (out.length && start <= out.at(-1)[1]) out.at(-1)[1] = Math.max(out.at(-1)[1], end);
    else out.push([start, end]);
  }
  return out;
}
