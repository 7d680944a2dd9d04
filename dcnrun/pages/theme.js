/** Change from dark to light or back, whatever the system prefers. */
function otherTheme() {
  const style = document.documentElement.style, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = style.colorScheme || (dark ? "dark" : "light");
  style.colorScheme = now === "dark" ? "light" : "dark";
}

document.getElementById("theme").addEventListener("click", otherTheme);
