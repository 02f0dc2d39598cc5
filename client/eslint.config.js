import reactHooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/", "**/node_modules/"] },
  ...tseslint.configs.recommended,
  {
    files: ["{src,test,e2e,examples}/**/*.{ts,tsx}"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname } },
  },
  { ...reactHooks.configs.flat.recommended, files: ["src/**/*.{ts,tsx}"] },
);
