// Light or dark: as the system, or as chosen here.

const NAMES = ["auto", "light", "dark"];
const KEY = "tomostain-theme";

/** Apply the theme. Returns its colours for canvases, and how to go to the next one. */
export function startTheme(button) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let name = NAMES.includes(stored()) ? stored() : "auto";
  const theme = { colours: {}, listen: (listener) => listeners.push(listener), next };

  function apply() {
    const shown = name === "auto" ? (dark.matches ? "dark" : "light") : name;
    document.documentElement.dataset.theme = shown;
    button.textContent = name[0].toUpperCase() + name.slice(1);
    button.setAttribute("aria-label", `Theme: ${name}`);
    const style = getComputedStyle(document.documentElement);
    for (const each of ["page", "ink", "canvas", "accent", "on-accent", "z", "y", "x", "oblique"]) {
      const key = each.replace(/-(\w)/, (_, letter) => letter.toUpperCase());
      theme.colours[key] = style.getPropertyValue(`--${each}`).trim();
    }
    listeners.forEach((listener) => listener());
  }

  function next() {
    name = NAMES[(NAMES.indexOf(name) + 1) % NAMES.length];
    try {
      localStorage.setItem(KEY, name);
    } catch {
      // Without storage the choice lasts until the page is closed.
    }
    apply();
    return name;
  }

  dark.addEventListener("change", apply);
  apply();
  return theme;
}

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
