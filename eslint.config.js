import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", "_build/", "build/", "book/_build/"] },
  js.configs.recommended,
  { languageOptions: { globals: globals.browser } },
  {
    files: ["civilwar/inspector/js/*.js"],
    rules: { eqeqeq: "error", "no-shadow": "error", "no-var": "error", "prefer-const": "error" },
  },
  // what the theme's own scripts have said before
  {
    files: ["book/_static/*.js"],
    languageOptions: { sourceType: "script", globals: { DOCUMENTATION_OPTIONS: "readonly" } },
  },
];
