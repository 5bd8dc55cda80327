"use strict";
(() => {
  const table = document.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const control = (id) => document.getElementById(id);
  const find = control("find");
  const classes = { true: control("true"), predicted: control("predicted") };
  const wrong = control("wrong");
  const reset = control("reset");
  const status = document.querySelector("[role=status]");
  const paper = document.querySelector(".paper");
  const none = document.querySelector(".none");
  const pairs = [...document.querySelectorAll(".pairs li")];
  const heads = [...document.querySelectorAll("[data-sort]")];
  const names = rows.map((row) => row.cells[0].textContent.toLowerCase());

  // Positions are those in the table as written, in falling order of loss; that order settles ties in every other.
  const written = rows.map((_, position) => position);
  const rising = {
    image: () => facts.image,
    confidence: () => facts.confidence,
    loss: () => written.toReversed(),
    true: () => written.toSorted((a, b) => facts.true[a] - facts.true[b]),
    predicted: () => written.toSorted((a, b) => facts.predicted[a] - facts.predicted[b]),
  };
  const opposite = { ascending: "descending", descending: "ascending" };
  const first = { image: "ascending", true: "ascending", predicted: "ascending", confidence: "descending", loss: "descending" };

  // Only rows in reach are attached: moving 10,000 of them about takes half a second, a batch a few milliseconds.
  const batch = 400;
  let order = written;
  let matching = written;
  let attached = 0;

  function attach(count) {
    const next = document.createDocumentFragment();
    for (const position of matching.slice(attached, attached + count)) next.append(rows[position]);
    body.append(next);
    attached = Math.min(attached + count, matching.length);
    // The rest keeps its room, so that the scroll bar shows how much there is.
    const height = attached && body.lastElementChild.getBoundingClientRect().bottom - body.firstElementChild.getBoundingClientRect().top;
    body.style.paddingBottom = attached < matching.length ? `${(matching.length - attached) * (height / attached)}px` : "";
  }

  function fill() {
    while (attached < matching.length && body.lastElementChild.getBoundingClientRect().bottom < 3 * innerHeight) attach(batch);
  }

  function show() {
    const away = table.getBoundingClientRect().top < 0;
    const wanted = { name: find.value.trim().toLowerCase(), true: classes.true.value, predicted: classes.predicted.value };
    matching = order.filter(
      (i) =>
        (wanted.true === "" || facts.true[i] === +wanted.true) &&
        (wanted.predicted === "" || facts.predicted[i] === +wanted.predicted) &&
        !(wrong.checked && facts.true[i] === facts.predicted[i]) &&
        names[i].includes(wanted.name),
    );
    body.replaceChildren();
    attached = 0;
    attach(batch);
    if (away) table.scrollIntoView();
    describe(wanted);
  }

  function describe(wanted) {
    for (const pair of pairs) {
      const pressed = pair.dataset.true === wanted.true && pair.dataset.predicted === wanted.predicted;
      pair.firstElementChild.setAttribute("aria-pressed", pressed);
    }
    const [some, all] = [matching.length, rows.length].map((count) => count.toLocaleString("en"));
    const kept = [
      wanted.name && `file names with ${wanted.name}`,
      wanted.true && `true class ${classes.true.selectedOptions[0].text}`,
      wanted.predicted && `predicted class ${classes.predicted.selectedOptions[0].text}`,
      wrong.checked && "wrong only",
    ].filter(Boolean);
    status.textContent = kept.length ? `${some} of ${all} images` : `All ${all} images`;
    paper.textContent = kept.length ? `Shown: ${status.textContent}; ${kept.join("; ")}.` : "";
    reset.hidden = kept.length === 0;
    none.hidden = matching.length > 0;
  }

  function choose(trueClass, predicted) {
    classes.true.value = trueClass;
    classes.predicted.value = predicted;
    wrong.checked = false;
    find.value = "";
    show();
  }

  function sort(head) {
    const key = head.dataset.sort;
    const direction = opposite[head.getAttribute("aria-sort")] ?? first[key];
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    order = direction === "ascending" ? rising[key]() : rising[key]().toReversed();
    show();
  }

  // What needs the script appears with it: without it the page has no dead buttons.
  function button(parent, action) {
    const made = document.createElement("button");
    made.type = "button";
    made.append(...parent.childNodes);
    made.addEventListener("click", () => action(made));
    parent.append(made);
  }

  for (const head of heads) button(head, () => sort(head));
  for (const pair of pairs) {
    button(pair, (made) => {
      if (made.getAttribute("aria-pressed") === "true") choose("", "");
      else choose(pair.dataset.true, pair.dataset.predicted);
    });
  }
  for (const part of document.querySelectorAll("[data-js]")) part.hidden = false;
  for (const chosen of [classes.true, classes.predicted, wrong]) chosen.addEventListener("change", show);
  find.addEventListener("input", show);
  reset.addEventListener("click", () => {
    choose("", "");
    find.focus();
  });
  addEventListener("scroll", fill, { passive: true });
  addEventListener("resize", fill, { passive: true });
  addEventListener("beforeprint", () => attach(matching.length));
  show();
})();
