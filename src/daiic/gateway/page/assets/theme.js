// Applies the colours that the visitor chose, before anything is drawn.
const theme = localStorage.getItem("daiic-theme");
if (theme) document.documentElement.dataset.theme = theme;
