// For browsers that do not know modules: they ignore main.js.

document.getElementById("news").textContent = "This page needs a browser of 2022 or later.";
