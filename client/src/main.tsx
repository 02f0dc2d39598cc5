import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { AuthProvider } from "./auth/AuthProvider";
import { makeAuthClient } from "./lib/auth-client";
import { loadConfig } from "./lib/config";
import "./ui/styles/base.css";
import "./ui/styles/sign-in.css";
import "./ui/styles/live.css";

const config = await loadConfig();
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <AuthProvider config={config} client={makeAuthClient(config.authUrl)}>
      <App config={config} />
    </AuthProvider>
  </StrictMode>,
);
