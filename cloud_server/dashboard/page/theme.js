// Loaded before the first paint, so that the page comes in the chosen colours.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
