// The colours a visitor chose, applied before anything is drawn.
const theme = localStorage.getItem("daiic-theme");
if (theme) document.documentElement.dataset.theme = theme;
