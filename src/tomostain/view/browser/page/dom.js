// Elements with attributes, listeners and children.

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

let count = 0;

/** Return a labelled row with a slider and its value; `write(value)` shows a value. */
export function slider({ label, min, max, step, text, change }) {
  count += 1;
  const id = `slider-${count}`;
  const output = element("output", { for: id, "aria-live": "off" });
  const input = element("input", { type: "range", id, min, max, step, oninput: () => change(Number(input.value)) });
  const row = element("div", { class: "row" }, element("label", { for: id, class: "slider" }, label), input, output);
  const write = (value, range = [min, max]) => {
    [input.min, input.max] = range;
    input.value = value;
    output.value = text(value);
    input.setAttribute("aria-valuetext", text(value));
  };
  return { row, write };
}

/** Return a row with a checkbox; `write(value)` shows a value. */
export function checkbox({ label, change }) {
  count += 1;
  const id = `checkbox-${count}`;
  const input = element("input", { type: "checkbox", id, onchange: () => change(input.checked) });
  const row = element("div", { class: "row" }, input, element("label", { for: id }, label));
  return { row, write: (value) => (input.checked = value) };
}
