/** The entry of the console. */
import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Router } from 'wouter';
import { BASE } from './api/client.ts';
import { queryClient } from './api/hooks.ts';
import { readFragment, setToken } from './api/session.ts';
import { App } from './app.tsx';
import { applyTheme } from './components/theme.ts';
import './styles.css';

// The icon's address is relative to the first page. A browser asks for it again where the address has changed.
for (const icon of document.querySelectorAll<HTMLLinkElement>('link[rel=icon]')) icon.href = String(icon.href);

const token = readFragment().get('token');
if (token) setToken(token);
applyTheme();

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <Router base={BASE.replace(/\/$/, '')}>
        <App />
      </Router>
    </QueryClientProvider>
  </StrictMode>,
);
