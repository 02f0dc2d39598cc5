interface ImportMetaEnv {
  readonly VITE_AUTH_URL?: string;
}
