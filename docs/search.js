// The search box takes a word behind "-" as one to leave out. Whoever looks for a flag, such as --fp16, means its name.
document.addEventListener("input", (event) => {
  if (event.target.matches(".md-search__input")) event.target.value = event.target.value.replace(/(^|\s)-+/g, "$1");
}, true);
