// The page is whole without this: pictures stand side by side, and of the frames one is shown.
for (const figure of document.querySelectorAll("figure.compare")) {
  figure.classList.add("live");
  const pair = figure.querySelector(".pair"), slider = figure.querySelector("input");
  const move = () => pair.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", move);
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = pair.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  pair.addEventListener("pointerdown", drag);
  pair.addEventListener("pointermove", drag);
  pair.addEventListener("dragstart", (event) => event.preventDefault());
  move();
}
for (const figure of document.querySelectorAll("figure.frames")) {
  figure.classList.add("live");
  const frames = [...figure.querySelectorAll("img")], slider = figure.querySelector("input"), label = figure.querySelector("output");
  const show = () => {
    frames.forEach((frame, number) => frame.classList.toggle("shown", number === Number(slider.value)));
    label.textContent = frames[Number(slider.value)].alt;
  };
  slider.addEventListener("input", show);
  show();
}
