// Loaded before the first paint, so that it comes in the chosen colours.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
